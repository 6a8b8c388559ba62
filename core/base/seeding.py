"""Separate random streams, so that a change in one does not move the others."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from yacs.config import CfgNode

STREAMS = ("DATASET", "DATALOADER", "INPUT", "PROMPT", "TRAINER")


def seed_of(cfg: CfgNode, stream: str) -> int:
    """Return the seed of one of ``STREAMS``: the one set under that node, or else ``SEED``.

    The streams are the few-shot draw, the order of the images, their augmentation, the start of the
    prompts, and the method's own random numbers.
    """
    own = cfg[stream].SEED
    return cfg.SEED if own < 0 else own


def derive(seed: int, *names: object) -> int:
    """Return a 63-bit seed for one purpose, such as ``derive(seed, "order", epoch)``."""
    text = ":".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


@contextmanager
def seeded(seed: int, *names: object) -> Iterator[None]:
    """Seed torch's CPU generator for a block by ``derive``, and restore it afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive(seed, *names))
        yield
