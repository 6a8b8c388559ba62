"""Separate random streams, so that a change in one leaves the others where they were."""

import hashlib
from contextlib import contextmanager

import torch

STREAMS = ("DATASET", "DATALOADER", "INPUT", "PROMPT", "TRAINER")


def seed_of(cfg, stream: str) -> int:
    """Return the seed of one of ``STREAMS``: the one set under that node, else ``SEED``.

    They are the few-shot draw, the order of the images, their augmentation, the prompts' start and
    what the method itself draws.
    """
    own = cfg[stream].SEED
    return cfg.SEED if own < 0 else own


def derive(seed: int, *names) -> int:
    """A 63-bit seed of its own for one purpose, such as ``derive(seed, "order", epoch)``."""
    text = ":".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


@contextmanager
def seeded(seed: int, *names):
    """Run a block on torch's CPU generator seeded for it, and leave that generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(derive(seed, *names))
        yield
