"""Contours: polygons, ellipses and stars as integer points on a canvas of -100..100, y down."""

import numpy as np

from softprompt.core.synthetic.raster import ONE, TURN, cosine, sine

UNIT = 16  # contours are stored in 1/16 of the canvas's units, which leaves room for rounding


def poly(*points: tuple[int, int]) -> np.ndarray:
    return np.array(points, np.int64) * UNIT


def half(*points: tuple[int, int]) -> np.ndarray:
    """A symmetric polygon from its right half, listed from top to bottom."""
    return poly(*points, *[(-x, y) for x, y in reversed(points)])


def smooth(contour: np.ndarray, times: int = 2) -> np.ndarray:
    """Chaikin's corner cutting."""
    for _ in range(times):
        following = np.roll(contour, -1, axis=0)
        pair = (3 * contour + following) >> 2, (contour + 3 * following) >> 2
        contour = np.stack(pair, 1).reshape(-1, 2)
    return contour


def oval(
    x: int, y: int, rx: int, ry: int, start: int = 0, stop: int = TURN, lean: int = 0
) -> np.ndarray:
    """An ellipse or its part between two angles (0 is right, TURN / 4 down), turned by `lean`."""
    count = 20
    points = []
    for i in range(count + (stop - start != TURN)):
        angle = start + (stop - start) * i // count
        dx, dy = rx * cosine(angle) * UNIT // ONE, ry * sine(angle) * UNIT // ONE
        points.append((dx * cosine(lean) - dy * sine(lean), dx * sine(lean) + dy * cosine(lean)))
    return np.array(points, np.int64) // ONE + np.array([x, y]) * UNIT


def box(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    return poly((left, top), (right, top), (right, bottom), (left, bottom))


def spokes(count: int, outer: int, inner: int, y: int = 0, flat: int = 0) -> np.ndarray:
    """A star with `count` points; `flat` > 0 (an angle) cuts the tips off, which makes a gear."""
    points = []
    for i in range(2 * count):
        radius = inner if i % 2 else outer
        centre = i * TURN // (2 * count) - TURN // 4
        for angle in (centre - flat, centre + flat) if flat else (centre,):
            points.append((radius * cosine(angle), radius * sine(angle)))
    return np.array(points, np.int64) * UNIT // ONE + np.array([0, y * UNIT])
