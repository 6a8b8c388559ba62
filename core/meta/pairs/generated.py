"""Captioned pictures that are generated when they are read; nothing is stored or downloaded."""

import hashlib
from functools import lru_cache

import numpy as np
from PIL import Image

from softprompt.core.meta.pairs.base import Pairs
from softprompt.core.synthetic import captions

FAMILIES = ("extra",)  # neither these classes nor the domains of these pictures are evaluated
# The edition of the pictures and captions, part of the key that features are cached under: change
# it whenever a picture or a caption changes, or stale features would be used.
EDITION = "01618f0a6845121415e0a3e33c37d48b5949bdcfd2d0971e6a4a1a9ab9b034b4"
UNSAID = 50  # percent of pictures whose look the caption does not mention: domains to discover


class GeneratedPairs(Pairs):
    """Generated pictures and captions of other classes and domains than those evaluated."""

    def __init__(self, count: int):
        super().__init__(f"drawn:{count}", (), max_skipped=0)
        self.count = count

    def __len__(self) -> int:
        return self.count

    def caption(self, index: int) -> str:
        return _pair(index)[1]

    def image(self, index: int) -> Image.Image:
        return Image.fromarray(_pair(index)[0])

    def digest(self, index: int) -> bytes:
        return hashlib.blake2b(self.identity(index), digest_size=16).digest()

    def identity(self, index: int) -> bytes:
        return f"{EDITION}:{index}".encode()

    def place(self, index: int) -> str:
        return f"drawn picture {index}"

    def stamp(self) -> str:
        return f"{EDITION}:{self.count}"


@lru_cache(maxsize=16384)  # 200 MB at most; drawing takes longer than a small CLIP's step
def _pair(index: int) -> tuple[np.ndarray, str]:
    return captions.pair(index, families=FAMILIES, evaluated=False, unsaid=UNSAID)
