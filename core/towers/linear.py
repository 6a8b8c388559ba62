"""The linear layers of a frozen tower."""

from collections.abc import Callable
from functools import partial

import torch.nn.functional as F
from torch import Tensor


def frozen_linear(weight: Tensor, bias: Tensor | None) -> Callable[[Tensor], Tensor]:
    """Return ``x -> x weight^T + bias``, for weights that never change."""
    return partial(F.linear, weight=weight, bias=bias)
