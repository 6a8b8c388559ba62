"""One run on several processes, started by torchrun: each encodes a shard of images and classes.

Every process holds the whole batch, draws the same random numbers and computes the same loss, from
features of which each process has encoded a shard. So a method computes what a single process
would, and has no code for several. Of the operations below, two and two are each other's
derivatives, to any order: ``replicated`` and all-reduce, ``all_gather`` and ``scatter``. A gradient
is thereby summed over the processes before a method receives it, hence before any projection, gate
or regulator.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import pairwise
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd import Function

from softprompt.core.base.log import logger

T = TypeVar("T")
_ALONE: list[bool] = []  # not empty: this process works by itself, within rank_by_rank()
TIMEOUT = timedelta(hours=24)  # of a collective; the main process may be downloading meanwhile


@contextmanager
def processes(cuda: bool) -> Iterator[None]:
    """Join the process group if torchrun has started one.

    Args:
        cuda: give each process its own GPU, where there are any.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield
        return
    cuda = cuda and torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if cuda else "gloo", timeout=TIMEOUT)
    logger.disabled = not is_main_process()
    try:
        yield
    finally:
        logger.disabled = False
        dist.destroy_process_group()


def world_size() -> int:
    """Return the number of processes that share the work."""
    return dist.get_world_size() if dist.is_initialized() and not _ALONE else 1


def is_main_process() -> bool:
    """Whether this is rank 0, the one process that writes and logs."""
    return not dist.is_initialized() or dist.get_rank() == 0


def barrier() -> None:
    """Wait until all processes have called this."""
    if dist.is_initialized():
        dist.barrier()


@contextmanager
def rank_by_rank() -> Iterator[None]:
    """Run a block in one process after the other, so that later ranks find what was written."""
    if not dist.is_initialized():
        yield
        return
    for _ in range(dist.get_rank()):
        barrier()
    _ALONE.append(True)
    try:
        yield
    finally:
        _ALONE.pop()
    for _ in range(dist.get_rank(), dist.get_world_size()):
        barrier()


def is_sharded(total: int) -> bool:
    """Whether so many images or classes are sharded; fewer than processes are not."""
    return 1 < world_size() <= total


def shard(total: int) -> slice:
    """Return this rank's shard of so many rows; sizes differ by one where they do not divide."""
    ends, rank = _ends(total), dist.get_rank()
    return slice(ends[rank], ends[rank + 1])


def own_shard(values: list[T]) -> list[T]:
    """Return this rank's shard of some values, or all of them where they are not sharded."""
    return values[shard(len(values))] if is_sharded(len(values)) else values


def all_gather(own: Tensor, total: int, dim: int = 0) -> Tensor:
    """Return the whole of a tensor, ``total`` long along ``dim``, from each rank's shard."""
    return _AllGather.apply(own, total, dim)


def scatter(whole: Tensor, dim: int = 0) -> Tensor:
    """Return this rank's shard of a tensor along ``dim``."""
    return _Scatter.apply(whole, dim)


def replicated(tensors: list[Tensor]) -> list[Tensor]:
    """Return copies of tensors that every rank holds, whose gradients are summed over the ranks."""
    return list(_Replicated.apply(*tensors)) if tensors else []


@torch.no_grad()
def broadcast_from_main(tensors: list[Tensor]) -> list[Tensor]:
    """Return rank 0's tensors, where the ranks' arithmetic might differ in the last bits."""
    if world_size() == 1 or not tensors:
        return tensors
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    dist.broadcast(flat, 0)
    return _unflat(flat, tensors)


class _Replicated(Function):
    @staticmethod
    def forward(ctx, *tensors):
        return tuple(tensor.clone() for tensor in tensors)

    @staticmethod
    def backward(ctx, *gradients):
        return _AllReduce.apply(*gradients)


class _AllReduce(Function):
    @staticmethod
    def forward(ctx, *tensors):
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        return tuple(_unflat(flat, tensors))

    @staticmethod
    def backward(ctx, *gradients):
        return _Replicated.apply(*gradients)


class _AllGather(Function):
    @staticmethod
    def forward(ctx, own, total, dim):
        ctx.dim = dim
        longest = -(-total // world_size())
        rows = own.movedim(dim, 0)
        padded = rows.new_zeros(longest, *rows.shape[1:])
        padded[: len(rows)] = rows
        found = [torch.empty_like(padded) for _ in range(world_size())]
        dist.all_gather(found, padded)
        lengths = [end - start for start, end in pairwise(_ends(total))]
        parts = [each[:length] for each, length in zip(found, lengths, strict=True)]
        return torch.cat(parts).movedim(0, dim)

    @staticmethod
    def backward(ctx, *gradients):
        (gradient,) = gradients
        return _Scatter.apply(gradient, ctx.dim), None, None


class _Scatter(Function):
    @staticmethod
    def forward(ctx, whole, dim):
        ctx.dim, ctx.total = dim, whole.shape[dim]
        own = shard(ctx.total)
        return whole.narrow(dim, own.start, own.stop - own.start).clone()

    @staticmethod
    def backward(ctx, *gradients):
        (gradient,) = gradients
        return _AllGather.apply(gradient, ctx.total, ctx.dim), None


def _ends(total: int) -> list[int]:
    """Return where the shards begin and end."""
    return [total * rank // world_size() for rank in range(world_size() + 1)]


def _unflat(flat: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Return the parts of a flat tensor in the shapes of others."""
    sizes = [tensor.numel() for tensor in like]
    parts = zip(flat.split(sizes), like, strict=True)
    return [part.reshape(tensor.shape).clone() for part, tensor in parts]
