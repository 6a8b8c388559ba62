"""Functions that keep their inputs alone and are run again where a gradient is needed."""

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor

from softprompt.core.clip.gradients import twice_differentiable


def recomputed(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """Return ``function(*inputs)``, which is run again whenever its gradient is needed.

    The gradient is such a function too, so derivatives of any order keep no more than inputs and
    cotangents. ``function`` must give the same each time and depend on no other trained tensor.
    """
    return _Recomputed.apply(lambda *given: (function(*given),), *inputs)[0]


class _Recomputed(torch.autograd.Function):
    """A function from several tensors to several tensors."""

    @staticmethod
    def forward(ctx, function, *inputs):
        ctx.function = function
        ctx.save_for_backward(*inputs)
        return function(*inputs)

    @staticmethod
    def backward(ctx, *cotangents):
        needed = ctx.needs_input_grad[1:]
        vjp = _vjp(ctx.function, needed)
        found = iter(_Recomputed.apply(vjp, *ctx.saved_tensors, *cotangents))
        return None, *(next(found) if need else None for need in needed)


def _vjp(function: Callable, needed: tuple[bool, ...]) -> Callable:
    """The function of inputs and cotangents that returns the gradients of the needed inputs."""

    def vjp(*given: Tensor) -> tuple[Tensor, ...]:
        again = torch.is_grad_enabled()  # these gradients are themselves being differentiated
        inputs, cotangents = list(given[: len(needed)]), given[len(needed) :]
        for index, need in enumerate(needed):
            if not again or need and not inputs[index].requires_grad:
                inputs[index] = inputs[index].detach().requires_grad_(need)
        wanted = [value for value, need in zip(inputs, needed, strict=True) if need]
        with torch.enable_grad(), twice_differentiable() if again else nullcontext():
            outputs = function(*inputs)
            return torch.autograd.grad(
                outputs, wanted, cotangents, create_graph=again, materialize_grads=True
            )

    return vjp
