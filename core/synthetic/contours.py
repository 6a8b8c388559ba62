"""Contours: polygons, ellipses and stars as integer points on a canvas of -100..100, y down."""

import numpy as np

from softprompt.core.synthetic.raster import ONE, TURN, cosine, sine

UNIT = 16  # contours are stored in 1/16 of the canvas's units, for precision


def poly(*points: tuple[int, int]) -> np.ndarray:
    """Return the polygon through these points, ``(n, 2)`` in 1/UNIT."""
    return np.array(points, np.int64) * UNIT


def half(*points: tuple[int, int]) -> np.ndarray:
    """Return a symmetric polygon, given its right half from top to bottom."""
    return poly(*points, *[(-x, y) for x, y in reversed(points)])


def smooth(contour: np.ndarray, times: int = 2) -> np.ndarray:
    """Round a contour by Chaikin's corner cutting, ``times`` times."""
    for _ in range(times):
        following = np.roll(contour, -1, axis=0)
        pair = (3 * contour + following) >> 2, (contour + 3 * following) >> 2
        contour = np.stack(pair, 1).reshape(-1, 2)
    return contour


def oval(
    x: int, y: int, rx: int, ry: int, start: int = 0, stop: int = TURN, lean: int = 0
) -> np.ndarray:
    """Return an ellipse or its part between two angles, rotated by ``lean``.

    Args:
        start, stop: 0 is right, TURN / 4 down.
    """
    count = 20
    points = []
    for i in range(count + (stop - start != TURN)):
        angle = start + (stop - start) * i // count
        dx, dy = rx * cosine(angle) * UNIT // ONE, ry * sine(angle) * UNIT // ONE
        points.append((dx * cosine(lean) - dy * sine(lean), dx * sine(lean) + dy * cosine(lean)))
    return np.array(points, np.int64) // ONE + np.array([x, y]) * UNIT


def box(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    """Return a rectangle."""
    return poly((left, top), (right, top), (right, bottom), (left, bottom))


def spokes(count: int, outer: int, inner: int, y: int = 0, flat: int = 0) -> np.ndarray:
    """Return a star with ``count`` points; an angle ``flat`` > 0 cuts the tips, as of a gear."""
    points = []
    for i in range(2 * count):
        radius = inner if i % 2 else outer
        centre = i * TURN // (2 * count) - TURN // 4
        for angle in (centre - flat, centre + flat) if flat else (centre,):
            points.append((radius * cosine(angle), radius * sine(angle)))
    return np.array(points, np.int64) * UNIT // ONE + np.array([0, y * UNIT])
