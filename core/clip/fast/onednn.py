"""The linear layers of a frozen tower by oneDNN, which on some CPUs is faster than F.linear.

oneDNN lays a weight out for itself in each call, which costs little beside the product of many
rows; for few rows the layout is kept (prepacked), since the weight never changes. That costs a copy
of the weight, and another one of its transpose where gradients pass.

Exact up to rounding, in outputs and derivatives of every order, which is verified once a process
before any layer is replaced. Slow counterpart: ``Linear``, which is ``F.linear``.
"""

from collections.abc import Callable, Iterable
from functools import cache, cached_property
from pathlib import Path

import torch
from torch import Tensor

from softprompt.core.clip.towers.block import Block, Linear

# A bias that leaks into a derivative is no larger than this, so what it leaks into must be small.
SMALL = 1e-3
FEW = 128  # rows; with more, a kept layout saves less than a tenth of the time


def applies(mode: str, precision: str, device: torch.device) -> bool:
    """Whether to multiply by oneDNN: "on" wherever it is right, "auto" where it also pays.

    On AMD processors with AVX-512, which PyTorch's own library does not use there, it was measured
    at 1.2 and at 2.2 times the speed, on one without at a tenth more, and on Intel's at no gain. A
    rule by measurement could change from one day to the next, and with it the last bits of every
    result.
    """
    if precision != "fp32" or device.type != "cpu":
        return False
    return (mode == "on" or mode == "auto" and _is_amd_with_avx512()) and _is_right()


def use_onednn(blocks: Iterable[Block]) -> None:
    """Replace the linear layers of some blocks, as far as they hold fp32 on the CPU."""
    for block in blocks:
        for name, layer in list(vars(block).items()):
            if type(layer) is Linear and layer.weight.dtype == torch.float32:
                setattr(block, name, OneDNNLinear(layer.weight, layer.bias))


def prepacked_bytes(blocks: Iterable[Block]) -> int:
    """Return the bytes of the copies of weights that some blocks keep for oneDNN."""
    layers = [part for block in blocks for part in vars(block).values()]
    return sum(layer.bytes for layer in layers if isinstance(layer, OneDNNLinear))


class OneDNNLinear(Linear):
    """A linear layer by oneDNN, which keeps its weight's layout once it is used for few rows."""

    def __call__(self, x: Tensor) -> Tensor:
        if torch.is_autocast_enabled("cpu") or x.dtype != torch.float32:
            return super().__call__(x)
        return _Product.apply(x, self, False, self.bias)

    def run(self, x: Tensor, transposed: bool, bias: Tensor | None) -> Tensor:
        """Return ``x weight^T + bias``, or ``x weight``."""
        if x.shape[:-1].numel() < FEW:
            weight = self._transposed if transposed else self._straight
        else:
            weight = self.weight.T if transposed else self.weight
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")

    @property
    def bytes(self) -> int:
        """The bytes of the copies made so far."""
        made = [self.__dict__.get(name) for name in ("_straight", "_transposed")]
        return sum(copy.numel() * copy.element_size() for copy in made if copy is not None)

    @cached_property
    def _straight(self) -> Tensor:
        return torch.ops.mkldnn._reorder_linear_weight(self.weight.contiguous())

    @cached_property
    def _transposed(self) -> Tensor:
        return torch.ops.mkldnn._reorder_linear_weight(self.weight.T.contiguous())


class _Product(torch.autograd.Function):
    """Multiplication by the weight or its transpose; either is the other's gradient, to any order.

    The bias belongs to the layer's output alone: no gradient of any order contains it.
    """

    @staticmethod
    def forward(ctx, x, layer, transposed, bias):
        ctx.layer, ctx.transposed = layer, transposed
        return layer.run(x, transposed, bias)

    @staticmethod
    def backward(ctx, *gradients):
        (gradient,) = gradients
        return _Product.apply(gradient, ctx.layer, not ctx.transposed, None), None, None, None


def _is_amd_with_avx512() -> bool:
    """Read the processor's kind from Linux; elsewhere it is none of these."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return False
    found = {name.strip(): value.split() for name, _, value in (s.partition(":") for s in lines)}
    return found.get("vendor_id") == ["AuthenticAMD"] and "avx512f" in found.get("flags", [])


@cache
def _is_right() -> bool:
    """Whether oneDNN's layer has the output and the derivatives of ``F.linear``."""
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast("cpu", enabled=False):
        few, many, weight, bias = (
            torch.randn(shape, generator=generator, dtype=torch.float32)
            for shape in ((FEW // 2, 256), (FEW, 256), (128, 256), (128,))
        )
        expected = Linear(weight, bias)
        try:
            layer = OneDNNLinear(weight, bias)
            pairs = [
                pair
                for x in (few, many)
                for pair in zip(_orders(layer, x), _orders(expected, x), strict=True)
            ]
        except (AttributeError, RuntimeError):  # a build without oneDNN
            return False
    return all(bool((a - b).norm() <= 1e-5 * b.norm()) for a, b in pairs)


def _orders(layer: Callable[[Tensor], Tensor], x: Tensor) -> list[Tensor]:
    """Return the output and the first three derivatives, each scaled down to ``SMALL``."""
    x = x.clone().requires_grad_()
    found = [layer(x)]
    for _ in range(3):
        total = found[-1].pow(3).sum()
        (gradient,) = torch.autograd.grad(total, x, create_graph=True)
        found.append(gradient * (SMALL / gradient.detach().norm()))
    return found
