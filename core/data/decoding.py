"""From a picture file of any mode and depth to eight bits of red, green and blue."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from PIL import ExifTags, Image, ImageOps

from softprompt.core.base.errors import UserError
from softprompt.core.data.opening import open_picture

if TYPE_CHECKING:
    from yacs.config import CfgNode

KEY = "INPUT.VALUE_RANGE"
SIXTEEN = (0.0, 65535.0)
NARROW = 4096  # a 16-bit picture whose values span less is shown in fewer than 16 grey levels
FLAT = 8  # colours that differ by no more are one colour


@dataclass(frozen=True)
class Decoding:
    """How a picture becomes RGB of eight bits; where nothing is said here, by Pillow's conversion.

    Attributes:
        value_range: (black, white) of pictures with more than eight bits a pixel; (): 0 and 65535
            for 16 bits, and others are refused.
        exif_orientation: turn a picture as its EXIF orientation says.
    """

    value_range: tuple[float, ...] = ()
    exif_orientation: bool = False

    @classmethod
    def of(cls, node: CfgNode) -> Decoding:
        """Return what the node ``INPUT`` asks for.

        Raises:
            UserError: ``INPUT.VALUE_RANGE`` is not two different numbers.
        """
        given = tuple(node.VALUE_RANGE)
        numbers = all(type(value) in (int, float) for value in given)
        if given and not (numbers and len(set(given)) == len(given) == 2):
            raise UserError(f"{KEY} is {given}, but takes two numbers, (black, white), or ()")
        return cls(given, node.EXIF_ORIENTATION)

    def rgb(self, image: Image.Image, place: str | Path) -> Image.Image:
        """Return an opened picture in RGB; of an animation or several pages, the first.

        A picture that has one colour, and its shape in its transparency alone, is laid on white, or
        on black if it is bright. Otherwise transparency is left out.

        Raises:
            UserError: it has more than eight bits, and it is not said which values are black and
                white.
        """
        if self.exif_orientation and _turned(image):
            turned = ImageOps.exif_transpose(image)
            turned.format = image.format  # which a copy lacks, and the depth may depend on
            image = turned
        if _is_deep(image):
            return self._scaled(image, place)
        return _on_ground(image) or image.convert("RGB")

    def is_plain(self, image: Image.Image) -> bool:
        """Return whether Pillow's own conversion of an opened picture gives the same."""
        turned = self.exif_orientation and _turned(image)
        return not (turned or _is_deep(image) or _on_ground(image))

    def _scaled(self, image: Image.Image, place: str | Path) -> Image.Image:
        import numpy as np

        values = np.nan_to_num(np.asarray(image, dtype=np.float64))
        low, high = float(values.min()), float(values.max())
        # Older versions of Pillow open PNG and PGM files of 16 bits in mode I.
        sixteen = image.mode.startswith("I;16") or (
            image.mode == "I" and image.format in ("PNG", "PPM")
        )
        black, white = self.value_range or SIXTEEN
        if not self.value_range and (not sixteen or 0 < high - low < NARROW):
            kind = "whole" if image.mode.startswith("I") else "floating-point"
            bits, few = (16, ", too few of 65,535 to show,") if sixteen else (32, "")
            raise UserError(
                f"the picture {place} (mode {image.mode}) holds {kind} numbers of {bits} bits, "
                f"from {low:g} to {high:g}{few} and must become 8 bits: say which values are black "
                f'and white in all pictures, such as {KEY} "{_range_around(low, high, kind)}"'
            )
        share = np.clip((values - black) / (white - black), 0, 1)
        return Image.fromarray((255 * share).round().astype(np.uint8)).convert("RGB")


def _range_around(low: float, high: float, kind: str) -> str:
    """Return a usual range of values that holds these."""
    if low < 0 or (kind != "whole" and high > 1):
        return f"({low:g}, {high:g})"
    return f"(0, {max(1, 2 ** int(high).bit_length() - 1)})"


def _turned(image: Image.Image) -> bool:
    with suppress(Exception):  # damaged EXIF data says nothing
        return image.getexif().get(ExifTags.Base.Orientation, 1) not in (0, 1)
    return False


def _is_deep(image: Image.Image) -> bool:
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def _on_ground(image: Image.Image) -> Image.Image | None:
    """Return a picture of one colour on a contrasting ground, None if it has several colours."""
    transparent = image.mode == "P" and "transparency" in image.info
    if not transparent and image.mode not in ("LA", "PA", "RGBA"):
        return None
    rgba = image.convert("RGBA")
    # One pair for each of four bands; the stubs also know of one pair alone.
    *colours, alpha = list[tuple[int, int]](rgba.getextrema())  # type: ignore[arg-type]
    if any(high - low > FLAT for low, high in colours) or alpha[0] == alpha[1]:
        return None
    bright = sum(high for _, high in colours) > 3 * 127
    ground = Image.new("RGBA", rgba.size, "black" if bright else "white")
    return Image.alpha_composite(ground, rgba).convert("RGB")


def decode(
    source: Path | IO[bytes], place: str | Path, decoding: Decoding | None = None
) -> Image.Image:
    """Return a picture in RGB.

    Args:
        place: its location, for messages.

    Raises:
        UserError: it is missing, no file, too large, or cannot be decoded.
    """
    with open_picture(source, place) as image:
        return (decoding or Decoding()).rgb(image, place)
