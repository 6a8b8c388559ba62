"""Captioned pictures like those of a web crawl: many sentences, many looks, some wrong."""

from dataclasses import replace
from functools import cache

import numpy as np

from softprompt.core.synthetic.looks import COLOURS, LOOKS, Look
from softprompt.core.synthetic.raster import Dice
from softprompt.core.synthetic.scene import FAMILIES, paint

_LINES = dict(lines=True, edge=2, paper=(240, 236, 226), shadow=False)
_PAINTED = dict(edge=2, levels=6, relief=40, hatch=14)
# The look that a word of a sentence gives the picture; the first word found counts. Words for a
# domain of the evaluation come with its name, so that they can be excluded.
_WORDS: dict[str, tuple[str | None, dict]] = {
    "sketch": ("sketch", _LINES),
    "drawing": ("sketch", _LINES),
    "doodle": ("sketch", {**_LINES, "edge": 3}),
    "tattoo": ("sketch", {**_LINES, "paper": (232, 196, 164)}),
    "rendition": ("rendition", _PAINTED),
    "painting": ("rendition", {**_PAINTED, "saturation": (50, 90)}),
    "art": ("rendition", _PAINTED),
    "graffiti": ("rendition", {**_PAINTED, "edge": 5}),
    "cartoon": ("plain", dict(edge=4, levels=6, relief=0, shadow=False)),
    "video game": (None, dict(pixel=(4,), levels=6)),
    "rendering": (None, dict(relief=0, noise=(0, 1))),
    "embroidered": (None, dict(hatch=40, edge=1)),
    "plushie": (None, dict(hatch=26, noise=(10, 20))),
    "sculpture": (None, dict(saturation=(0, 15))),
    "origami": (None, dict(edge=1, relief=4, saturation=(70, 90))),
    "plastic": (None, dict(saturation=(120, 140), jitter=4)),
    "toy": (None, dict(saturation=(120, 140), edge=2)),
    "low resolution": (None, dict(pixel=(2, 4), blur=(0, 1))),
    "pixelated": (None, dict(pixel=(4,))),
    "jpeg": (None, dict(pixel=(2,), noise=(16, 30))),
    "blurry": (None, dict(blur=(3, 5))),
    "black and white": (None, dict(saturation=(0, 0))),
    "dark": (None, dict(brightness=(-90, -50), contrast=(60, 90))),
    "bright": (None, dict(brightness=(40, 70), contrast=(70, 95))),
    "bad": (None, dict(contrast=(40, 60), noise=(16, 30))),
    "hard to see": (None, dict(contrast=(25, 40))),
    "dirty": (None, dict(noise=(24, 40), clutter=(4, 8))),
    "clean": (None, dict(noise=(0, 1), clutter=(0, 0), relief=2)),
    "weird": (None, dict(turn=180, jitter=60)),
    "many": (None, dict(copies=(3, 6), scale=(70, 100))),
    "small": (None, dict(scale=(34, 50))),
    "large": (None, dict(scale=(92, 108))),
    "cropped": (None, dict(scale=(108, 124))),
    "close-up": (None, dict(scale=(100, 116))),
    "tilted": (None, dict(turn=150)),
    "behind": (None, dict(clutter=(5, 8))),
    "centered": (None, dict(clutter=(0, 0))),
    "satellite": (None, dict(scale=(40, 60), relief=40, saturation=(50, 80))),
}

_NAMES = ("{}", "{}.", "a {}", "a {}.", "the {}", "one {}", "{} picture", "{} photo")
_DATASETS = (
    "itap of a {}.",
    "itap of the {}.",
    "itap of my {}.",
    "a photo of a {}, a type of toy.",
    "a photo of a {}, a type of object.",
    "a photo of a {}, a type of pet.",
    "a photo of {}, a type of food.",
    "a photo of a {}, a type of flower.",
    "a photo of a {}, a type of aircraft.",
    "a centered satellite photo of {}.",
    "a centered satellite photo of a {}.",
    "a photo of a person doing {}.",
    "a picture of a {}.",
    "an image of a {}.",
    "this is a photo of a {}.",
    "a type of {}.",
    "a {} in a scene.",
    "my {}",
    "a photo of {}.",
    "photo of a {}",
)
_TEXTURES = (
    "{} texture.",
    "a photo of a {} texture.",
    "a {} pattern.",
    "a cloth with {}.",
    "{} on a wall",
)
_COLOURED = (
    "a {colour} {}",
    "a photo of a {colour} {}.",
    "{colour} {} on {back}",
    "a {colour} {} on a {back} background.",
    "a {size} {colour} {}.",
    "a {size} {colour} {} before a {back} wall",
    "the {} is {colour}",
    "a {} in {colour} and {back}",
)
_STYLES = (
    "a {domain} {}",
    "a {domain} of a {}.",
    "{}, {domain}",
    "a {} in the style of a {domain}",
    "a {domain} picture of a {}.",
)
# The last looks like the evaluated pictures.
_DOMAINS = ("night", "blueprint", "pixel art", "embroidery", "watercolor", "chalkboard", "cartoon")
_CLAUSES = (
    "a photo of a {size} {}",
    "which is {colour}",
    "on a {back} background",
    "seen from the front",
    "and it is {colour}",
    "with nothing else around it",
    "next to some other things",
    "that i took with my new camera",
    "in the middle of the picture",
    "for sale in our shop",
    "free shipping",
    "hand made with love",
    "what a nice {}",
    "the light comes from above",
    "there is a shadow on the {back} wall",
    "one of many pictures in this set",
    "as you can see here",
    "best price of the year",
)
_SIZES = ("small", "large", "nice", "cool")


@cache
def templates() -> tuple[str, ...]:
    """Return OpenAI's 80 ImageNet sentences, with {} for the name."""
    from open_clip import OPENAI_IMAGENET_TEMPLATES

    return tuple(template("{}") for template in OPENAI_IMAGENET_TEMPLATES)


def _sentence(dice: Dice, family: str) -> str:
    """Return a sentence with {} for the name, and perhaps {colour}, {back}, {size}, {domain}."""
    roll = dice.below(100)
    if roll < 10:
        return "a photo of a {}."
    if roll < 40:
        return dice.pick(templates())
    if roll < 52:
        return dice.pick(_NAMES)
    if roll < 62:
        return dice.pick(_TEXTURES if family == "patterns" else _DATASETS)
    if roll < 78:
        return dice.pick(_COLOURED)
    if roll < 86:
        return dice.pick(_STYLES)
    if roll < 92:  # the letter takes the place of CoOp's placeholders
        return "x " * dice.between(1, 24) + dice.pick(("{}", "{}."))
    clauses = [dice.pick(_CLAUSES[1:]) for _ in range(dice.between(1, 7))]
    clauses.insert(dice.below(len(clauses) + 1), "a photo of a {}")
    return ", ".join(clauses) + "."


def _names_others(words: str, families: tuple[str, ...]) -> bool:
    others = (name for family in FAMILIES if family not in families for name in FAMILIES[family])
    return any(f" {name} " in words for name in others)


def pair(
    index: int,
    seed: int = 0,
    families: tuple[str, ...] = ("shapes", "patterns", "extra"),
    evaluated: bool = True,
    wrong: int = 15,
    unsaid: int = 0,
) -> tuple[np.ndarray, str]:
    """Return picture number ``index``, ``(SIZE, SIZE, 3)`` uint8, and its caption.

    Args:
        families: the classes to draw from.
        evaluated: False excludes sentences that show a domain of the evaluation (a sketch, a
            rendition) or name a class of another family ("a type of flower"); with
            ``families=("extra",)`` neither classes nor domains are those of the evaluation.
        wrong: percent of the captions that name another class.
        unsaid: percent of the pictures in a domain (night, blueprint ...) that the caption does
            not mention.
    """
    dice = Dice("pair", index, seed, *families)
    family = dice.pick([family for family in families for _ in FAMILIES[family]])
    classname = dice.pick(FAMILIES[family])
    while True:
        sentence = _sentence(dice, family)
        words = f" {sentence.replace('.', ' ').replace(',', ' ')} "
        shown, changes = next(
            (value for word, value in _WORDS.items() if f" {word} " in words), (None, {})
        )
        if evaluated or (shown is None and not _names_others(words, families)):
            break
    fields = {
        "colour": dice.pick(list(COLOURS)),
        "back": dice.pick(list(COLOURS)),
        "size": dice.pick(_SIZES),
    }
    domains = _DOMAINS if evaluated else _DOMAINS[:-1]
    base = dice.pick(domains) if unsaid and dice.chance(unsaid) else "web"
    look: Look = replace(LOOKS[base], **changes)
    if "{domain}" in sentence:
        fields["domain"] = dice.pick(domains)
        look = LOOKS[fields["domain"]]
    if "{size}" in sentence:
        look = replace(look, **_WORDS.get(fields["size"], (None, {}))[1])
    picture = paint(
        dice,
        classname,
        look,
        fields["colour"] if "{colour}" in sentence else None,
        fields["back"] if "{back}" in sentence else None,
    )
    name = dice.pick(FAMILIES[dice.pick(families)]) if dice.chance(wrong) else classname
    return picture, sentence.replace("{}", name).format(**fields)
