"""Looks: the style of each domain's pictures. Ranges are (lowest, highest), both included."""

from dataclasses import dataclass, replace

Range = tuple[int, int]
Colour = tuple[int, int, int]

# The colours that captions name; a rendered colour is one of these with a little jitter.
COLOURS: dict[str, Colour] = {
    "red": (214, 40, 44),
    "orange": (240, 134, 30),
    "yellow": (246, 212, 50),
    "green": (52, 160, 66),
    "turquoise": (46, 190, 190),
    "blue": (44, 92, 214),
    "purple": (134, 60, 182),
    "pink": (244, 132, 180),
    "brown": (128, 80, 44),
    "white": (246, 246, 242),
    "black": (28, 28, 32),
    "gray": (134, 136, 140),
}


@dataclass(frozen=True)
class Look:
    """The parameters of layout, colours and final processing of a scene."""

    # layout
    scale: Range = (54, 94)  # half the object's side in percent of half the picture's
    turn: int = 64  # largest rotation, in 1/1024 of a turn
    clutter: Range = (0, 3)  # blobs behind the object
    occluders: Range = (0, 0)  # blobs before it
    copies: Range = (1, 1)
    # ink
    edge: int = 0  # width of dark contours in half pixels
    lines: bool = False  # contours only, no filling
    hatch: int = 0  # strength of thread-like diagonal shading
    shadow: bool = True
    ink: Colour = (24, 22, 28)
    paper: Colour | None = None  # a fixed background colour
    relief: int = 14  # strength of the backdrop's mottling, percent
    jitter: int = 22  # largest deviation of a colour from its name, of 255
    # final processing
    saturation: Range = (100, 100)  # percent
    contrast: Range = (100, 100)  # percent
    brightness: Range = (0, 0)  # added, of 255
    cast: int = 0  # largest colour cast, of 255
    blur: Range = (0, 0)  # passes of a 3 x 3 kernel
    pixel: tuple[int, ...] = (1,)  # side of a block of equal pixels
    noise: Range = (2, 12)  # of 255
    levels: int = 0  # number of tones; 0: all


# The web is photographs, the evaluated pictures are comics: thick contours, few bright flat tones.
# A model trained on the web is only half right there, which leaves something for prompts to learn.
_WEB = Look()
_PLAIN = replace(
    _WEB,
    scale=(70, 100),
    turn=40,
    clutter=(0, 1),
    edge=3,
    levels=6,
    noise=(0, 2),
    relief=0,
    saturation=(120, 150),
)
_SKETCH = replace(_WEB, lines=True, edge=2, paper=(240, 236, 226), shadow=False, jitter=8)

LOOKS: dict[str, Look] = {
    # evaluated
    "plain": _PLAIN,
    "v2": replace(_PLAIN, scale=(54, 82), turn=80, brightness=(-40, 0), clutter=(1, 3)),
    "sketch": replace(
        _PLAIN, saturation=(0, 8), paper=(240, 236, 226), hatch=24, noise=(8, 16), shadow=False
    ),
    "rendition": replace(
        _PLAIN, levels=5, pixel=(1, 2), hatch=24, noise=(6, 14), relief=30, saturation=(60, 110)
    ),
    "cluttered": replace(_PLAIN, clutter=(3, 6), occluders=(1, 2)),
    # not evaluated
    "web": _WEB,
    "night": replace(
        _WEB, brightness=(-90, -60), contrast=(50, 70), cast=14, noise=(8, 20), saturation=(50, 90)
    ),
    "blueprint": replace(_SKETCH, paper=(28, 66, 148), ink=(226, 238, 255), relief=8),
    "pixel art": replace(_WEB, pixel=(4,), levels=6, noise=(0, 2), shadow=False, relief=4),
    "embroidery": replace(_WEB, hatch=40, edge=1, relief=24, noise=(4, 12)),
    "watercolor": replace(
        _WEB, saturation=(50, 80), brightness=(20, 50), relief=40, blur=(1, 1), contrast=(70, 90)
    ),
    "chalkboard": replace(
        _SKETCH, paper=(40, 62, 54), ink=(232, 232, 220), edge=3, noise=(14, 26), hatch=20
    ),
    "cartoon": replace(_WEB, edge=4, levels=6, noise=(0, 2), relief=0, saturation=(120, 150)),
}
