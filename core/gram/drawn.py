"""Captioned pictures that are drawn when they are asked for: nothing is stored or downloaded."""

import hashlib
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from softprompt.core import drawing
from softprompt.core.drawing import captions
from softprompt.core.gram.pairs import Pairs

FAMILIES = ("extra",)  # neither these classes nor the domains of these pictures are evaluated
UNSAID = 50  # percent of pictures whose look the caption does not mention: domains to be found


class DrawnPairs(Pairs):
    """Generated pictures and captions, of other classes and domains than those evaluated."""

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
        return f"{_code()}:{index}".encode()

    def place(self, index: int) -> str:
        return f"drawn picture {index}"

    def stamp(self) -> str:
        return f"{_code()}:{self.count}"


@lru_cache(maxsize=16384)  # 200 MB at most; drawing takes longer than a small CLIP's step
def _pair(index: int) -> tuple[np.ndarray, str]:
    return captions.pair(index, families=FAMILIES, evaluated=False, unsaid=UNSAID)


@cache
def _code() -> str:
    """A hash of the code that draws, on which alone the pictures depend."""
    code = hashlib.sha256()
    for file in sorted(Path(drawing.__file__).parent.glob("*.py")):
        code.update(file.read_bytes())
    return code.hexdigest()
