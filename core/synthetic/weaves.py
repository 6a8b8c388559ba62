"""The texture classes: functions from rotated and scaled integer coordinates to a mask."""

from collections.abc import Callable

import numpy as np

from softprompt.core.synthetic.raster import ONE, TURN, sine

PERIOD = 256  # coordinate units in one repeat of a pattern
_WAVE = (
    np.array([sine(i * TURN // PERIOD) for i in range(PERIOD)]) * 40 // ONE
)  # one period, amplitude 40


def _fold(t: np.ndarray, period: int = PERIOD) -> np.ndarray:
    """Return the distance to the nearest multiple of the period."""
    return np.abs((t + period // 2) % period - period // 2)


def _staggered(u: np.ndarray, v: np.ndarray, height: int) -> np.ndarray:
    """Return u, shifted by half a period in every second row of this height."""
    return u + (v // height % 2) * (PERIOD // 2)


def _scales(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    x, y = _fold(_staggered(u, v, 128)), v % 128
    return np.abs(x * x + y * y - 112 * 112) < 3200


def _honeycomb(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    def norm(x, y):  # hexagons with sides left and right; 7 / 8 ~ cos 30 degrees
        return np.maximum(_fold(x), (4 * _fold(x) + 7 * _fold(y, 444)) // 8)

    return np.minimum(norm(u, v), norm(u + 128, v + 222)) < 104


WEAVES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "stripes": lambda u, v: u % 256 < 128,
    "checkerboard": lambda u, v: (u % 256 < 128) ^ (v % 256 < 128),
    "dots": lambda u, v: _fold(u) ** 2 + _fold(v) ** 2 < 72 * 72,
    "zigzag": lambda u, v: (v + _fold(u)) % 176 < 80,
    "bricks": lambda u, v: (v % 128 > 26) & (_staggered(u, v, 128) % 256 > 26),
    "waves": lambda u, v: (v + _WAVE[u % PERIOD]) % 150 < 72,
    "grid": lambda u, v: (u % 256 < 52) | (v % 256 < 52),
    "plaid": lambda u, v: (
        ((u % 256 < 120) & ((u + v) // 12 % 2 == 0)) ^ ((v % 256 < 120) & ((u + v) // 12 % 2 == 1))
    ),
    "scales": _scales,
    "honeycomb": _honeycomb,
}
