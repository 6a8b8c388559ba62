"""Render a picture of a class in a look: layout, filling, final processing."""

from collections.abc import Callable, Iterator

import numpy as np

from softprompt.core.synthetic.contours import UNIT, oval
from softprompt.core.synthetic.looks import COLOURS, LOOKS, Colour, Look
from softprompt.core.synthetic.outlines import EXTRA, SHAPES
from softprompt.core.synthetic.raster import (
    GRID,
    ONE,
    SIZE,
    STEP,
    TURN,
    Dice,
    blur,
    cosine,
    fill,
    pixelate,
    sine,
    smooth_noise,
)
from softprompt.core.synthetic.weaves import PERIOD, WEAVES

FAMILIES: dict[str, tuple[str, ...]] = {
    "shapes": tuple(SHAPES),
    "patterns": tuple(WEAVES),
    "extra": tuple(EXTRA),
}
_OBJECTS = {**SHAPES, **EXTRA}
_X, _Y = np.meshgrid(np.arange(SIZE), np.arange(SIZE))


def paint(
    dice: Dice, classname: str, look: Look, colour: str | None = None, backdrop: str | None = None
) -> np.ndarray:
    """Return a picture ``(SIZE, SIZE, 3)`` uint8.

    Args:
        colour, backdrop: names in ``COLOURS``; random by default.
    """
    palette = _palette(dice, look, colour, backdrop)
    canvas = _backdrop(dice, look, palette["backdrop"])
    if classname in WEAVES:
        canvas = _weave(dice, classname, look, canvas, palette["main"])
    else:
        canvas = _objects(dice, classname, look, canvas, palette)
    return _develop(dice, look, canvas)


def _palette(
    dice: Dice, look: Look, colour: str | None, backdrop: str | None
) -> dict[str, np.ndarray]:
    def stray(rgb: Colour) -> np.ndarray:
        return np.array(
            [min(max(c + dice.between(-look.jitter, look.jitter), 0), 255) for c in rgb], np.int32
        )

    def other(name: str | None, *taken: np.ndarray) -> np.ndarray:
        """Return the named colour, or one that differs from those taken."""
        distance = 240
        while True:
            rgb = stray(COLOURS[name or dice.pick(list(COLOURS))])
            distinct = all(np.abs(rgb - rival).sum() >= distance for rival in taken)
            if name or distinct or distance == 8:
                return rgb
            distance -= 8

    back = stray(look.paper) if look.paper else other(backdrop)
    main = other(colour, back)
    ink = np.array(look.ink, np.int32)
    return {
        "backdrop": back,
        "main": main,
        "second": other(None, back, main),
        "dark": main * 5 // 12,
        "light": (main + 510) // 3,
        "ink": ink,
    }


def _backdrop(dice: Dice, look: Look, colour: np.ndarray) -> np.ndarray:
    """Return ``(SIZE, SIZE, 3)``: a gradient, mottled by noise of two scales."""
    slope = [dice.between(-look.relief, look.relief) for _ in range(2)]
    coarse = smooth_noise(dice, "coarse", dice.between(2, 5)) - 128
    fine = smooth_noise(dice, "fine", dice.between(8, 16)) - 128
    light = (slope[0] * (_X - SIZE // 2) + slope[1] * (_Y - SIZE // 2)) // SIZE
    light = 100 + light + (coarse * 3 + fine) * look.relief // 256
    return colour * light[..., None] // 100


def _objects(
    dice: Dice, classname: str, look: Look, canvas: np.ndarray, palette: dict[str, np.ndarray]
) -> np.ndarray:
    layer = np.zeros((GRID, GRID), np.int64)  # index of the ink that covers a cell; 0: none
    roles = {"main": 2, "second": 3, "dark": 4, "light": 5}
    inks = [np.zeros(3, np.int32), palette["ink"], *(palette[role] for role in roles)]

    def lay(contours: list[np.ndarray], ink: int) -> None:
        rows, inside = fill(contours)
        layer[rows][inside] = ink

    def blobs(amount: tuple[int, int], largest: int) -> None:
        for _ in range(dice.between(*amount)):
            lay([_blob(dice, largest)], len(inks))
            mix = (palette["backdrop"] + np.array(COLOURS[dice.pick(list(COLOURS))], np.int32)) // 2
            inks.append(mix)

    blobs(look.clutter, 30)
    behind = layer.copy()
    layer[:] = 0
    copies = dice.between(*look.copies)
    for turn, place in _poses(dice, look, copies):
        for role, contours in _OBJECTS[classname]:
            lay([turn(contour) + place for contour in contours], roles[role])
    if look.shadow:
        shift = dice.between(3, 6)
        fallen = np.zeros_like(layer, bool)
        fallen[shift:, shift:] = layer[:-shift, :-shift] > 0
        canvas = canvas * (100 - 9 * _coverage(fallen)[..., None]) // 100
    layer = np.where(layer > 0, layer, behind)
    blobs(look.occluders, 24)
    if look.edge:
        border = _borders(layer, look.edge)
        if look.lines:
            layer[:] = 0
        layer[border] = 1
    total = _pixels(np.array(inks, np.int32)[layer])  # (SIZE, SIZE, 3)
    # lit from the upper left
    light = 108 - (_X + _Y) * 16 // (2 * SIZE) - _threads(dice, look.hatch)
    return (canvas * (4 - _coverage(layer > 0)[..., None]) + total * light[..., None] // 100) >> 2


def _blob(dice: Dice, largest: int) -> np.ndarray:
    """Return a random ellipse or polygon at a random place, ``(n, 2)`` in grid units."""
    outline = oval(0, 0, dice.between(6, largest), dice.between(6, largest), lean=dice.below(TURN))
    if dice.chance(60):
        corners = dice.between(3, 5)
        outline = outline[[dice.below(4) + i * 20 // corners for i in range(corners)]]
    scale = GRID * STEP // 2
    return outline * scale // (100 * UNIT) + np.array(
        [dice.below(GRID * STEP), dice.below(GRID * STEP)]
    )


def _poses(
    dice: Dice, look: Look, copies: int
) -> Iterator[tuple[Callable[[np.ndarray], np.ndarray], np.ndarray]]:
    """Yield, per copy, a function that rotates and scales contours to grid units, and its place."""
    frame = GRID * STEP
    side = 1 if copies == 1 else 2 if copies <= 4 else 3  # copies are in a grid of side x side
    cells = list(range(side * side))
    for _ in range(copies):
        cell = cells.pop(dice.below(len(cells)))
        percent = dice.between(*look.scale)
        angle = dice.between(-look.turn, look.turn)
        c, s = cosine(angle), sine(angle)
        wide, tall = (percent * dice.between(86, 108) for _ in range(2))
        mirror = -1 if dice.chance(50) else 1
        matrix = np.array([[c * wide * mirror, s * wide * mirror], [-s * tall, c * tall]], np.int64)

        def turn(contour: np.ndarray, matrix: np.ndarray = matrix) -> np.ndarray:
            # ONE * 100 * 100 undoes the fixed point and both percentages; 100 UNITs: half a frame
            return contour @ matrix * (frame // 2) // (ONE * 10_000 * 100 * UNIT * side)

        slack = max(frame * (100 - percent) // 200, frame // 50) * 2 // 3 // side
        centre = [
            (2 * k + 1) * frame // (2 * side) + dice.between(-slack, slack)
            for k in (cell % side, cell // side)
        ]
        yield turn, np.array(centre)


def _coverage(mask: np.ndarray) -> np.ndarray:
    """Return how many of a pixel's four cells are set, ``(SIZE, SIZE)``."""
    return _pixels(mask.astype(np.int32))


def _pixels(cells: np.ndarray) -> np.ndarray:
    """Return the sum of each pixel's four cells: ``(GRID, GRID, ...)`` to ``(SIZE, SIZE, ...)``."""
    rows = cells[::2] + cells[1::2]
    return rows[:, ::2] + rows[:, 1::2]


def _borders(layer: np.ndarray, width: int) -> np.ndarray:
    border = np.zeros_like(layer, bool)
    border[:, 1:] = layer[:, 1:] != layer[:, :-1]
    border[1:] |= layer[1:] != layer[:-1]
    for _ in range(width - 1):
        border[1:] |= border[:-1]
        border[:, 1:] |= border[:, :-1]
    return border


def _threads(dice: Dice, strength: int) -> np.ndarray:
    if not strength:
        return np.zeros((SIZE, SIZE), np.int64)
    lean = dice.pick((-2, -1, 1, 2))
    return (_X + lean * _Y) % 4 * strength // 3 + dice.array("thread", SIZE, SIZE) * strength // 512


def _weave(
    dice: Dice, classname: str, look: Look, canvas: np.ndarray, colour: np.ndarray
) -> np.ndarray:
    scale = 12 + dice.between(*look.scale) * 32 // 100  # cells per repeat
    angle = dice.between(-look.turn, look.turn) + dice.below(2) * (
        TURN // 4 if classname != "bricks" else 0
    )
    x, y = np.meshgrid(np.arange(GRID), np.arange(GRID))
    c, s = (value * PERIOD // scale for value in (cosine(angle), sine(angle)))
    u = (x * c - y * s) // ONE + dice.below(PERIOD)
    v = (x * s + y * c) // ONE + dice.below(PERIOD)
    bend = smooth_noise(dice, "bend", 3).repeat(2, 0).repeat(2, 1)  # the cloth is not flat
    mask = WEAVES[classname](u + bend // 3, v + bend // 4)
    if look.lines:
        mask = _borders(mask, look.edge)
        colour = np.array(look.ink, np.int32)
    share = _coverage(mask)[..., None]
    light = 104 - _threads(dice, look.hatch)[..., None]
    return (canvas * (4 - share) + colour * share * light // 100) >> 2


def _develop(dice: Dice, look: Look, canvas: np.ndarray) -> np.ndarray:
    """Return the finished picture as uint8: adjust colour and sharpness, add noise."""
    for _ in range(dice.between(*look.blur)):
        canvas = blur(canvas)
    gray = (canvas * np.array([77, 150, 29])).sum(2, keepdims=True) >> 8
    canvas = gray + (canvas - gray) * dice.between(*look.saturation) // 100
    canvas = (
        128 + (canvas - 128) * dice.between(*look.contrast) // 100 + dice.between(*look.brightness)
    )
    canvas = canvas + np.array([dice.between(-look.cast, look.cast) for _ in range(3)])
    block = dice.pick(look.pixel)
    if block > 1:
        canvas = pixelate(canvas, block)
    if look.levels:
        step = 255 // (look.levels - 1)
        canvas = (canvas + step // 2) // step * step
    strength = dice.between(*look.noise)
    if strength:
        canvas = canvas + (dice.array("noise", SIZE, SIZE, 3) - 128) * strength // 128
    return np.clip(canvas, 0, 255).astype(np.uint8)


def draw(family: str, classname: str, domain: str, index: int, seed: int = 0) -> np.ndarray:
    """Return picture ``index`` of a class in a domain, ``(SIZE, SIZE, 3)`` uint8.

    It depends only on the arguments.

    Raises:
        KeyError: there is no such class or domain.
    """
    if classname not in FAMILIES.get(family, ()):
        raise KeyError(f"no class {classname!r} in the family {family!r}: {FAMILIES}")
    if domain not in LOOKS:
        raise KeyError(f"no domain {domain!r}; there are {', '.join(LOOKS)}")
    return paint(Dice(family, classname, domain, index, seed), classname, LOOKS[domain])
