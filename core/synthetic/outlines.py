"""The object classes: tuples of parts (colour role, contours) on a canvas of -100..100, y down.

Parts are painted in order. Roles: "main" and "second" (two different random colours), "dark" and
"light" (shades of the main colour). All objects may be mirrored and turned by an eighth of a turn
and still keep their name.
"""

import numpy as np

from softprompt.core.synthetic.contours import box, half, oval, poly, smooth, spokes
from softprompt.core.synthetic.raster import TURN

Part = tuple[str, list[np.ndarray]]


def main(*contours: np.ndarray) -> Part:
    return "main", list(contours)


def second(*contours: np.ndarray) -> Part:
    return "second", list(contours)


def dark(*contours: np.ndarray) -> Part:
    return "dark", list(contours)


def light(*contours: np.ndarray) -> Part:
    return "light", list(contours)


_HALF, _QUARTER, _EIGHTH = TURN // 2, TURN // 4, TURN // 8

# fmt: off
# evaluated; core/data/generated.py gives their order
SHAPES: dict[str, tuple[Part, ...]] = {
    "star": (main(spokes(5, 105, 44, 8)), light(spokes(5, 50, 22, 8))),
    "fish": (
        second(smooth(poly((40, 0), (98, -52), (84, 0), (98, 52)), 1)),
        second(poly((-20, -30), (25, -68), (35, -20)), poly((-10, 30), (15, 58), (25, 22))),
        main(smooth(poly((-100, 6), (-62, -38), (0, -50), (64, -6), (64, 6), (0, 48), (-62, 36)))),
        light(oval(-62, -8, 13, 13)), dark(oval(-64, -8, 7, 7)),
        dark(oval(-34, 0, 5, 26, -_QUARTER, _QUARTER)),
    ),
    "house": (
        second(box(34, -84, 56, -30)), main(box(-72, -14, 72, 88)),
        second(half((0, -90), (98, -8))), dark(box(-50, 28, -14, 88)), light(box(14, 16, 52, 52)),
    ),
    "mushroom": (
        light(smooth(half((24, -10), (20, 50), (36, 92)), 1)),
        main(oval(0, 8, 92, 92, _HALF, TURN)),
        second(oval(-44, -28, 15, 15), oval(8, -54, 18, 18), oval(48, -18, 14, 14)),
    ),
    "key": (
        main(oval(0, -56, 42, 42), oval(0, -56, 20, 20)), main(box(-11, -16, 11, 98)),
        main(box(8, 42, 42, 60)), main(box(8, 74, 50, 94)),
    ),
    "cup": (
        main(oval(58, 4, 38, 42), oval(58, 4, 22, 26)),
        main(poly((-74, -58), (62, -58), (42, 82), (-54, 82))), dark(oval(-6, -58, 68, 17)),
        second(poly((-70, -22), (57, -22), (52, 14), (-65, 14))),
    ),
    "umbrella": (
        dark(box(-5, -96, 5, 66)),
        dark(
            smooth(
                poly((-5, 60), (5, 60), (7, 86), (30, 84), (32, 68), (42, 70), (38, 100), (-6, 98)),
                1,
            ),
        ),
        main(oval(0, 10, 98, 94, _HALF, TURN)), second(oval(0, 10, 36, 94, _HALF, TURN)),
    ),
    "butterfly": (
        main(oval(-48, -36, 56, 36, lean=_EIGHTH), oval(48, -36, 56, 36, lean=-_EIGHTH)),
        second(oval(-38, 42, 42, 28, lean=-_EIGHTH), oval(38, 42, 42, 28, lean=_EIGHTH)),
        light(oval(-52, -38, 22, 16, lean=_EIGHTH), oval(52, -38, 22, 16, lean=-_EIGHTH)),
        dark(oval(0, 4, 9, 62)), dark(poly((-3, -50), (-26, -92), (-20, -94), (4, -52))),
        dark(poly((3, -50), (26, -92), (20, -94), (-4, -52))),
    ),
    "hammer": (
        second(box(-12, -50, 14, 100)),
        main(poly((-66, -92), (30, -92), (84, -62), (88, -48), (36, -40), (-66, -40))),
        dark(box(-66, -92, -44, -40)),
    ),
    "bell": (
        second(oval(0, 74, 22, 22)), second(oval(0, -86, 16, 16)),
        main(smooth(half((12, -84), (50, -70), (54, -10), (60, 28), (94, 66), (60, 66)))),
        dark(box(-64, 38, 64, 48)),
    ),
    "heart": (
        main(smooth(half((0, -46), (28, -98), (98, -92), (106, -18), (58, 46), (0, 104)))),
        light(oval(-46, -40, 20, 14, lean=-_EIGHTH)),
    ),
    "boat": (
        dark(box(-3, -98, 8, 40)), light(poly((8, -92), (8, 20), (80, 20))),
        second(poly((-10, -76), (-10, 20), (-66, 20))),
        main(poly((-98, 34), (98, 34), (66, 86), (-66, 86))),
    ),
    "tree": (
        second(half((13, 20), (18, 98))), main(half((0, -10), (74, 62))),
        main(half((0, -56), (60, 20))), main(half((0, -100), (46, -24))),
    ),
    "crown": (
        main(half((0, -74), (36, 0), (92, -56), (74, 74))), dark(half((76, 46), (74, 74))),
        second(oval(0, -72, 14, 14), oval(-90, -54, 12, 12), oval(90, -54, 12, 12)),
        light(oval(0, 26, 13, 15)),
    ),
    "bottle": (
        dark(box(-14, -100, 14, -78)),
        main(smooth(half((15, -84), (15, -40), (42, -14), (44, 96)), 1)),
        second(box(-42, 10, 42, 62)),
    ),
    "arrow": (
        main(poly((-98, -18), (10, -18), (10, -64), (100, 0), (10, 64), (10, 18), (-98, 18))),
    ),
    "flower": (
        dark(box(-5, 10, 5, 100)), dark(oval(26, 66, 26, 12, lean=-96)), main(oval(0, -76, 27, 27)),
        main(oval(39, -48, 27, 27)), main(oval(24, -2, 27, 27)), main(oval(-24, -2, 27, 27)),
        main(oval(-39, -48, 27, 27)), second(oval(0, -36, 23, 23)),
    ),
    "anchor": (
        main(oval(0, -76, 23, 23), oval(0, -76, 10, 10)), main(box(-9, -56, 9, 84)),
        main(box(-46, -38, 46, -22)),
        main(np.concatenate([oval(0, 14, 88, 80, 0, _HALF), oval(0, 14, 62, 54, _HALF, 0)])),
        main(poly((98, 22), (66, -16), (48, 34)), poly((-98, 22), (-66, -16), (-48, 34))),
    ),
    "rocket": (
        second(half((20, 20), (72, 82), (24, 62))), light(half((20, 62), (0, 104))),
        main(smooth(half((0, -106), (32, -58), (38, 10), (24, 68)), 1)),
        second(oval(0, -26, 16, 16)),
    ),
    "apple": (
        dark(poly((-5, -30), (2, -92), (14, -88), (6, -30))),
        second(oval(36, -76, 30, 13, lean=-80)),
        main(smooth(half((0, -40), (44, -70), (94, -34), (80, 50), (40, 100), (0, 82)))),
        light(oval(-48, -12, 12, 20, lean=80)),
    ),
}

# captions only (pretraining, meta-training)
EXTRA: dict[str, tuple[Part, ...]] = {
    "moon": (
        main(
            np.concatenate(
                [
                    oval(-10, 0, 90, 90, _EIGHTH + 40, TURN - _EIGHTH - 40),
                    oval(22, 0, 72, 72, TURN - _EIGHTH - 60, _EIGHTH + 60),
                ],
            ),
        ),
    ),
    "cloud": (
        main(oval(-52, 16, 42, 42)), main(oval(0, -22, 50, 50)), main(oval(52, 12, 44, 44)),
        main(box(-54, 10, 54, 58)),
    ),
    "leaf": (
        dark(poly((-4, 60), (6, 60), (12, 102), (2, 102))),
        main(smooth(half((0, -104), (44, -50), (64, 10), (30, 64), (0, 78)), 1)),
        dark(box(-3, -70, 3, 70)),
    ),
    "spoon": (
        main(oval(0, -60, 32, 40)), light(oval(0, -62, 18, 26)), main(half((7, -26), (12, 100))),
    ),
    "lamp": (
        dark(box(-5, -4, 5, 84)), second(half((46, 80), (46, 96))), main(half((40, -88), (76, 0))),
    ),
    "chair": (
        second(box(-56, 6, -42, 98)), second(box(40, 6, 54, 98)), main(box(-58, -98, -40, 14)),
        main(box(-58, 0, 58, 22)),
    ),
    "ladder": (
        second(box(-40, -78, 40, -66)), second(box(-40, -40, 40, -28)),
        second(box(-40, -2, 40, 10)), second(box(-40, 36, 40, 48)), second(box(-40, 72, 40, 84)),
        main(box(-50, -100, -34, 100)), main(box(34, -100, 50, 100)),
    ),
    "snowman": (
        main(oval(0, 54, 48, 46)), main(oval(0, -14, 36, 34)), light(oval(0, -66, 26, 25)),
        second(poly((0, -66), (34, -60), (0, -56))), dark(oval(-9, -74, 4, 4), oval(9, -74, 4, 4)),
        dark(oval(0, -18, 5, 5), oval(0, 2, 5, 5)),
    ),
    "cactus": (
        main(smooth(poly((-78, -40), (-56, -40), (-56, 4), (0, 4), (0, 30), (-78, 30)), 1)),
        main(smooth(poly((76, -64), (54, -64), (54, -12), (0, -12), (0, 14), (76, 14)), 1)),
        main(smooth(half((18, -100), (20, 70)), 1)), second(half((42, 52), (32, 98))),
    ),
    "kite": (
        main(half((0, -98), (58, -32), (0, 50))),
        second(poly((0, -98), (58, -32), (0, -32)), poly((0, -32), (-58, -32), (0, 50))),
        dark(poly((-2, 48), (4, 48), (22, 76), (4, 100), (-2, 98), (14, 76))),
    ),
    "gear": (main(spokes(8, 98, 72, 0, 20), oval(0, 0, 30, 30)),),
    "candle": (
        second(smooth(half((0, -100), (20, -62), (10, -36)), 2)), dark(box(-2, -50, 2, -24)),
        light(box(-24, -28, 24, 72)), main(box(-52, 72, 52, 92)),
    ),
    "tent": (
        main(half((0, -70), (96, 74))), dark(half((0, -30), (30, 74))),
        second(half((4, -92), (4, -66))),
    ),
    "flag": (
        dark(box(-72, -98, -60, 100)),
        main(
            smooth(
                poly(
                    (-60, -92), (-10, -80), (40, -96), (92, -84), (92, -10), (40, -22), (-10, -6),
                    (-60, -18),
                ),
                1,
            ),
        ),
        second(oval(14, -52, 18, 18)),
    ),
    "carrot": (
        second(poly((-8, -50), (-34, -98), (-8, -78), (0, -104), (10, -78), (34, -98), (8, -50))),
        main(smooth(half((14, -58), (40, -46), (10, 80), (0, 104)), 1)),
        dark(box(-26, -20, 0, -14)), dark(box(0, 12, 18, 18)),
    ),
    "cat": (
        main(poly((-70, -92), (-16, -50), (-72, 0)), poly((70, -92), (16, -50), (72, 0))),
        main(oval(0, 12, 78, 68)), light(oval(-30, -4, 14, 16), oval(30, -4, 14, 16)),
        dark(oval(-30, -4, 6, 14), oval(30, -4, 6, 14)), second(poly((-12, 24), (12, 24), (0, 38))),
    ),
    "ring": (
        main(oval(0, 28, 68, 68), oval(0, 28, 50, 50)),
        second(half((18, -98), (38, -74), (0, -34))),
    ),
    "hat": (
        main(half((52, -84), (46, 50))), second(box(-48, 18, 48, 46)), main(oval(0, 52, 98, 20)),
    ),
    "balloon": (
        dark(poly((-2, 50), (3, 50), (14, 76), (-4, 104), (-8, 100), (8, 76))),
        main(oval(0, -30, 62, 70)), main(half((0, 34), (16, 56))),
        light(oval(-24, -54, 12, 18, lean=80)),
    ),
    "lightning bolt": (
        main(poly((10, -102), (-54, 14), (-10, 14), (-34, 102), (56, -26), (10, -26), (44, -102))),
    ),
}
# fmt: on
