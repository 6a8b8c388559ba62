"""The written-out derivatives are torch's own."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from softprompt.core.clip.fast.second_order import Norm, silu, unit
from softprompt.core.clip.fast.second_order_attention import attend_twice
from softprompt.core.clip.gradients import twice_differentiable
from softprompt.core.clip.towers.block import attend


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()


def derivatives(function, *inputs) -> list[torch.Tensor]:
    """The output, its gradients, and the gradients of these."""
    with twice_differentiable():
        out = function(*inputs)
    first = torch.autograd.grad(out.pow(3).sum(), inputs, create_graph=True)
    total = sum((g * draw(*g.shape, seed=i).detach()).sum() for i, g in enumerate(first))
    return [out, *first, *torch.autograd.grad(total, inputs)]


def assert_same(ours, theirs, *inputs):
    for a, b in zip(derivatives(ours, *inputs), derivatives(theirs, *inputs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_silu():
    assert_same(silu, F.silu, draw(3, 7))


def test_unit():
    assert_same(unit, partial(F.normalize, dim=-1), draw(2, 3, 7))


@pytest.mark.parametrize("kind", ["module", "partial"])
def test_norm(kind):
    weight, bias = draw(8, seed=1).detach(), draw(8, seed=2).detach()
    norm = partial(F.layer_norm, normalized_shape=(8,), weight=weight, bias=bias, eps=1e-2)
    if kind == "module":
        norm = torch.nn.LayerNorm(8, eps=1e-2, dtype=torch.float64).requires_grad_(False)
        norm.weight.copy_(weight)
    assert Norm(norm).weight is not None
    assert_same(Norm(norm), norm, draw(2, 5, 8))


@pytest.mark.parametrize("mask", ["none", "causal", "by row", "fewer queries"])
def test_attention(mask):
    whole, query, rest = draw(2, 5, 3, 3, 4), draw(2, 1, 1, 3, 4), draw(2, 5, 2, 3, 4, seed=1)
    parts, given = (whole,), None
    if mask == "causal":
        given = torch.full((5, 5), -torch.inf, dtype=torch.float64).triu(1)
    if mask == "by row":
        parts, given = (query, rest), draw(2, 1, 1, 5).detach()
    if mask == "fewer queries":
        parts = query, rest
    causal = mask == "causal"
    assert_same(
        lambda *parts: attend_twice(parts, given, causal),
        lambda *parts: attend(parts, given),
        *parts,
    )


def test_a_third_derivative_is_refused():
    x = draw(4)
    with twice_differentiable():
        (first,) = torch.autograd.grad(silu(x).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="a third derivative is not available"):
        torch.autograd.grad(first.sum(), x, create_graph=True)


def test_elsewhere_it_is_torchs_own():
    parts = [draw(2, 5, 3, 3, 4)]
    assert attend_twice(parts).equal(attend(parts))
    assert silu(parts[0]).equal(F.silu(parts[0]))
