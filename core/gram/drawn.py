"""Captioned pictures that are drawn when they are asked for: nothing is stored or downloaded."""

import hashlib
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from softprompt.core import drawing
from softprompt.core.drawing import captions
from softprompt.core.gram.pairs import Pairs

FAMILIES = ("extra",)  # neither these classes nor the domains of these pictures are evaluated
UNSAID = 50  # percent of pictures whose look the caption does not mention: domains to be found


class DrawnPairs(Pairs):
    """Generated pictures and captions, of other classes and domains than those evaluated.

    A pair is drawn when it is first asked for and then kept, 12 kB each.
    """

    def __init__(self, count: int):
        super().__init__(f"drawn:{count}", (), max_skipped=0)
        self.count = count
        self._pairs: dict[int, tuple[np.ndarray, str]] = {}

    def __len__(self) -> int:
        return self.count

    def caption(self, index: int) -> str:
        return self._pair(index)[1]

    def image(self, index: int) -> Image.Image:
        return Image.fromarray(self._pair(index)[0])

    def digest(self, index: int) -> bytes:
        return hashlib.blake2b(self.identity(index), digest_size=16).digest()

    def identity(self, index: int) -> bytes:
        return f"{_code()}:{index}".encode()

    def place(self, index: int) -> str:
        return f"drawn picture {index}"

    def stamp(self) -> str:
        return f"{_code()}:{self.count}"

    def _pair(self, index: int) -> tuple[np.ndarray, str]:
        if index not in self._pairs:
            self._pairs[index] = captions.pair(
                index, families=FAMILIES, evaluated=False, unsaid=UNSAID
            )
        return self._pairs[index]


@cache
def _code() -> str:
    """A hash of the code that draws, on which alone the pictures depend."""
    code = hashlib.sha256()
    for file in sorted(Path(drawing.__file__).parent.glob("*.py")):
        code.update(file.read_bytes())
    return code.hexdigest()
