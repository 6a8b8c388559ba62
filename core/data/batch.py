"""What a training step or an evaluation is given at once."""

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    images: Tensor  # (batch, 3, height, width), normalized
    labels: Tensor  # (batch,)
