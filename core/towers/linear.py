"""The linear layers of a frozen tower, through whichever library is the faster one for them.

On some CPUs oneDNN with a weight laid out for it beforehand takes half the time of what PyTorch
calls, which cannot know that the weight never changes. It costs a copy of the weight, and another
one of its transpose for gradients.
"""

from collections.abc import Callable
from functools import cache, cached_property, partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor


def frozen_linear(weight: Tensor, bias: Tensor) -> Callable[[Tensor], Tensor]:
    """Return ``x -> x weight^T + bias``, for a weight that never changes."""
    if weight.device.type == "cpu" and weight.dtype == torch.float32 and packing_pays():
        return PackedLinear(weight, bias)
    return partial(F.linear, weight=weight, bias=bias)


class PackedLinear:
    """A linear layer whose weight is laid out for oneDNN, when it is first used."""

    def __init__(self, weight: Tensor, bias: Tensor):
        self.weight = weight
        self.bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        if torch.is_autocast_enabled("cpu") or x.dtype != torch.float32:
            return F.linear(x, self.weight, self.bias)
        return _Packed.apply(x, self, False, self.bias)

    def run(self, x: Tensor, transposed: bool, bias: Tensor | None) -> Tensor:
        """Return ``x weight^T + bias``, or ``x weight``."""
        weight = self._transposed if transposed else self._straight
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")

    @cached_property
    def _straight(self) -> Tensor:
        return torch.ops.mkldnn._reorder_linear_weight(self.weight.contiguous())

    @cached_property
    def _transposed(self) -> Tensor:
        return torch.ops.mkldnn._reorder_linear_weight(self.weight.T.contiguous())


class _Packed(torch.autograd.Function):
    """Times the weight or its transpose; either is the other's gradient, so every order is there.

    The bias belongs to the layer's output alone: no gradient of any order contains it.
    """

    @staticmethod
    def forward(ctx, x, layer, transposed, bias):
        ctx.layer, ctx.transposed = layer, transposed
        return layer.run(x, transposed, bias)

    @staticmethod
    def backward(ctx, gradient):
        return _Packed.apply(gradient, ctx.layer, not ctx.transposed, None), None, None, None


@cache
def packing_pays() -> bool:
    """Whether packed layers are much faster here, and right.

    They were measured at twice the speed on AMD's processors and at none on Intel's. A rule by
    measurement could fall one way today and the other way tomorrow, and with it the last bits of
    every result.
    """
    return _vendor() == "AuthenticAMD" and _packing_is_right()


def _vendor() -> str:
    """The processor's maker, as Linux says it; elsewhere nothing."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    found = (line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id"))
    return next(found, "")


def _packing_is_right() -> bool:
    generator = torch.Generator().manual_seed(0)
    x, weight, bias = (
        torch.randn(shape, generator=generator, dtype=torch.float32)
        for shape in ((64, 256), (128, 256), (128,))
    )
    try:
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            expected, found = F.linear(x, weight, bias), PackedLinear(weight, bias)(x)
    except (AttributeError, RuntimeError):  # a build without oneDNN
        return False
    return torch.allclose(found, expected, rtol=1e-5, atol=1e-4)
