"""Integer raster graphics: random numbers, a sine, polygon filling, smooth noise.

Every operation is integer arithmetic on bytes of SHAKE-128, so a picture is the same on every
platform and with every version of numpy: no floats are rounded, no numpy distribution is sampled.
"""

import hashlib
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Choice = TypeVar("Choice")

SIZE = 64  # pixels per side of a finished picture
GRID = 2 * SIZE  # outlines are filled at twice the resolution: five levels of coverage per pixel
STEP = 16  # fixed-point units per grid cell
ONE = 1 << 12  # fixed-point one of ``sine``
TURN = 1024  # angle units in a full turn


def sine(angle: int) -> int:
    """Return ``sin(2 pi angle / TURN) * ONE`` by Bhaskara's approximation, within 0.0016 ONE."""
    angle %= TURN
    half = TURN // 2
    x = angle % half
    # sin t ~ 16 t (pi - t) / (5 pi^2 - 4 t (pi - t)) on [0, pi]
    value = 16 * x * (half - x) * ONE // (5 * half * half - 4 * x * (half - x))
    return value if angle < half else -value


def cosine(angle: int) -> int:
    """Return ``cos(2 pi angle / TURN) * ONE``, approximated as by ``sine``."""
    return sine(angle + TURN // 4)


class Dice:
    """A stream of random integers that depends only on its key."""

    def __init__(self, *key: object) -> None:
        self._key = "/".join(map(str, key)).encode()
        self._bytes, self._at, self._blocks = b"", 0, 0

    def below(self, bound: int) -> int:
        """Return a number in [0, bound)."""
        if self._at == len(self._bytes):
            self._bytes, self._at = self._digest(f"block {self._blocks}", 2048), 0
            self._blocks += 1
        self._at += 4
        return int.from_bytes(self._bytes[self._at - 4 : self._at], "little") % bound

    def between(self, low: int, high: int) -> int:
        """Return a number in [low, high]."""
        return low + self.below(high - low + 1)

    def chance(self, percent: int) -> bool:
        """Return True with this probability."""
        return self.below(100) < percent

    def pick(self, choices: Sequence[Choice]) -> Choice:
        """Return one of the choices."""
        return choices[self.below(len(choices))]

    def array(self, name: str, *shape: int) -> np.ndarray:
        """Return random bytes (int32, 0..255) of a shape, the same for the same name."""
        count = int(np.prod(shape))
        return np.frombuffer(self._digest(name, count), np.uint8).astype(np.int32).reshape(shape)

    def _digest(self, name: str, length: int) -> bytes:
        return hashlib.shake_128(self._key + b"#" + name.encode()).digest(length)


def fill(contours: list[np.ndarray]) -> tuple[slice, np.ndarray]:
    """Fill contours by the even-odd rule; return the rows touched and the mask ``(rows, GRID)``.

    Contours are ``(n, 2)`` integers (x, y), STEP per cell, closed implicitly; a contour within
    another is a hole.
    """
    starts = np.concatenate(contours)
    ends = np.concatenate([np.roll(contour, -1, axis=0) for contour in contours])
    first = min(max(int(starts[:, 1].min()) // STEP, 0), GRID)
    last = max(min(int(starts[:, 1].max()) // STEP + 1, GRID), first)
    (x0, y0), (x1, y1) = starts.T[:, :, None], ends.T[:, :, None]  # (edges, 1) each
    y = np.arange(first, last) * STEP + STEP // 2  # cell centres
    edge, row = np.nonzero((y0 <= y) != (y1 <= y))
    x0, y0, x1, y1, y = x0[edge, 0], y0[edge, 0], x1[edge, 0], y1[edge, 0], y[row]
    crossing = x0 + (y - y0) * (x1 - x0) // (y1 - y0)
    column = np.clip(
        (crossing + STEP // 2 - 1) // STEP, 0, GRID
    )  # the first centre right of the crossing
    flips = (
        np.bincount(row * (GRID + 1) + column, minlength=(last - first) * (GRID + 1)).astype(
            np.uint8
        )
        & 1
    )
    inside = np.bitwise_xor.accumulate(flips.reshape(last - first, GRID + 1), axis=1)
    return slice(first, last), inside[:, :GRID].astype(bool)


def smooth_noise(dice: Dice, name: str, cells: int) -> np.ndarray:
    """Return bilinear noise ``(SIZE, SIZE)``, 0..255, with ``cells`` random values per side."""
    corners = dice.array(name, cells + 1, cells + 1)
    position = np.arange(SIZE) * cells * 16 // SIZE
    whole, part = position >> 4, position & 15
    rows = corners[whole] * (16 - part[:, None]) + corners[whole + 1] * part[:, None]
    return (rows[:, whole] * (16 - part) + rows[:, whole + 1] * part) >> 8


def blur(picture: np.ndarray) -> np.ndarray:
    """Return a picture after one pass of the kernel (1, 2, 1) / 4 along both axes, int32."""
    for axis in (0, 1):
        picture = np.moveaxis(picture, axis, 0)
        padded = np.concatenate([picture[:1], picture, picture[-1:]])
        picture = (padded[:-2] + 2 * picture + padded[2:] + 2) >> 2
        picture = np.moveaxis(picture, 0, axis)
    return picture


def pixelate(picture: np.ndarray, block: int) -> np.ndarray:
    """Return means over ``block x block`` pixels; SIZE must be a multiple of ``block``."""
    side = SIZE // block
    means = picture.reshape(side, block, side, block, -1).sum((1, 3)) // (block * block)
    return means.repeat(block, 0).repeat(block, 1)
