"""The linear layers of a frozen tower, through whichever library is the faster one for them.

On some CPUs oneDNN is faster than what PyTorch calls. It lays a weight out for itself in each call,
which is little beside the product of many rows; for few rows the layout is kept, since the weight
never changes. That costs a copy of the weight, and another one of its transpose where gradients
pass.
"""

from collections.abc import Callable
from functools import cache, cached_property, partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

# A bias that leaks into a derivative is no larger than this, so what it leaks into must be small.
SMALL = 1e-3
FEW = 128  # rows; with more, a kept layout saves less than a tenth of the time


def frozen_linear(weight: Tensor, bias: Tensor, pack: bool) -> Callable[[Tensor], Tensor]:
    """Return ``x -> x weight^T + bias``, for a weight that never changes."""
    if pack and weight.device.type == "cpu" and weight.dtype == torch.float32:
        return PackedLinear(weight, bias)
    return partial(F.linear, weight=weight, bias=bias)


class PackedLinear:
    """A linear layer by oneDNN, which keeps its weight's layout once it is used for few rows."""

    def __init__(self, weight: Tensor, bias: Tensor):
        self.weight = weight
        self.bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        if torch.is_autocast_enabled("cpu") or x.dtype != torch.float32:
            return F.linear(x, self.weight, self.bias)
        return _Packed.apply(x, self, False, self.bias)

    def run(self, x: Tensor, transposed: bool, bias: Tensor | None) -> Tensor:
        """Return ``x weight^T + bias``, or ``x weight``."""
        if x.shape[:-1].numel() < FEW:
            weight = self._transposed if transposed else self._straight
        else:
            weight = self.weight.T if transposed else self.weight
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")

    @property
    def bytes(self) -> int:
        """What the copies take that have been made so far."""
        made = [self.__dict__.get(name) for name in ("_straight", "_transposed")]
        return sum(copy.numel() * copy.element_size() for copy in made if copy is not None)

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


def packs(packed: str) -> bool:
    """Whether to pack: "on", wherever it is right; "auto", where it is known to pay as well.

    On AMD processors with AVX-512, which PyTorch's own library does not use there, it was measured
    at 1.2 and at 2.2 times the speed, on one without at a tenth more, and at nothing on Intel's. A
    rule by measurement could fall one way today and the other way tomorrow, and with it the last
    bits of every result.
    """
    pays = packed == "on" or packed == "auto" and _is_amd_with_avx512()
    return pays and _packing_is_right()


def _is_amd_with_avx512() -> bool:
    """As Linux says it; elsewhere no."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return False
    found = {name.strip(): value.split() for name, _, value in (s.partition(":") for s in lines)}
    return found.get("vendor_id") == ["AuthenticAMD"] and "avx512f" in found.get("flags", [])


@cache
def _packing_is_right() -> bool:
    """Whether a packed layer has the output and the derivatives of a plain one."""
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast("cpu", enabled=False):
        few, many, weight, bias = (
            torch.randn(shape, generator=generator, dtype=torch.float32)
            for shape in ((FEW // 2, 256), (FEW, 256), (128, 256), (128,))
        )
        plain = partial(F.linear, weight=weight, bias=bias)
        try:
            packed = PackedLinear(weight, bias)
            pairs = [
                pair
                for x in (few, many)
                for pair in zip(_orders(packed, x), _orders(plain, x), strict=True)
            ]
        except (AttributeError, RuntimeError):  # a build without oneDNN
            return False
    return all((ours - theirs).norm() <= 1e-5 * theirs.norm() for ours, theirs in pairs)


def _orders(layer: Callable[[Tensor], Tensor], x: Tensor) -> list[Tensor]:
    """The output and the first three derivatives, each scaled down to the size of ``SMALL``."""
    x = x.clone().requires_grad_()
    found = [layer(x)]
    for _ in range(3):
        total = found[-1].pow(3).sum()
        (gradient,) = torch.autograd.grad(total, x, create_graph=True)
        found.append(gradient * (SMALL / gradient.detach().norm()))
    return found
