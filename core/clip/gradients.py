"""Gradients by name, and the attention that can be differentiated twice."""

from contextlib import AbstractContextManager

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel


def gradients(
    loss: Tensor,
    params: dict[str, Tensor],
    create_graph: bool = False,
    retain_graph: bool = True,
    scale: Tensor | None = None,
) -> dict[str, Tensor]:
    """Return d loss / d p for each named tensor, zeros where the loss does not reach one.

    Args:
        create_graph: the gradients will be differentiated themselves.
        retain_graph: keep what a second call on the same graph needs; without it, memory is freed
            along the way.
        scale: a number () that multiplies the loss on the way down and divides the result, which
            keeps small half-precision gradients from vanishing; None: 1.
    """
    if not loss.requires_grad:
        return {name: torch.zeros_like(value) for name, value in params.items()}
    found = torch.autograd.grad(
        loss,
        list(params.values()),
        grad_outputs=None if scale is None else scale.to(loss.dtype).expand_as(loss),
        create_graph=create_graph,
        retain_graph=retain_graph or create_graph,
        allow_unused=True,
    )
    return {
        name: torch.zeros_like(value) if grad is None else grad if scale is None else grad / scale
        for (name, value), grad in zip(params.items(), found, strict=True)
    }


def twice_differentiable() -> AbstractContextManager:
    """Return a context in which attention has a second derivative; fused kernels have none."""
    return sdpa_kernel([SDPBackend.MATH])


def is_twice_differentiable() -> bool:
    """Whether this is within ``twice_differentiable()``."""
    return not torch.backends.cuda.flash_sdp_enabled()
