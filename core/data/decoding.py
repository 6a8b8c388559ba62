"""From a picture file of any mode and depth to eight bits of red, green and blue."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from softprompt.core.base.errors import UserError, reason

if TYPE_CHECKING:
    from yacs.config import CfgNode

MAX_PIXELS = "SOFTPROMPT_MAX_PIXELS"  # environment variable: the largest picture to decode
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


@contextmanager
def open_picture(source: Path | IO[bytes], place: str | Path) -> Iterator[Image.Image]:
    """Open a picture whose pixels have not been decoded yet.

    More pixels than ``PIL.Image.MAX_IMAGE_PIXELS``, for which Pillow only warns, are an error: a
    small file can claim to have so many that decoding them takes all memory. The environment
    variable ``SOFTPROMPT_MAX_PIXELS`` sets this limit.

    Raises:
        UserError: it is missing, no file, too large or cannot be decoded, also while it is open.
    """
    limit = _pixel_limit()
    with readable_errors(place):
        if isinstance(source, Path):
            check_regular(source)
        with Image.open(source) as image:
            if limit is not None and image.width * image.height > limit:
                raise Image.DecompressionBombError
            yield image


def check_regular(file: Path) -> None:
    """Raise ``UserError`` for what is no file with content: reading a pipe never ends.

    Raises:
        OSError: there is nothing of that name.
    """
    status = os.stat(file)
    if stat.S_ISDIR(status.st_mode):
        raise UserError(f"{file} is no picture, but a folder")
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{file} is no picture, but a pipe, a device or a socket")
    if not status.st_size:
        raise UserError(f"{file} is no picture, but empty")


def _pixel_limit() -> int | None:
    allowed = os.environ.get(MAX_PIXELS)
    if allowed:
        if not allowed.isdecimal() or not int(allowed):
            raise UserError(f"{MAX_PIXELS} is {allowed!r}, but takes a whole number of pixels")
        Image.MAX_IMAGE_PIXELS = int(allowed)  # Pillow's is an error itself from twice this on
    return Image.MAX_IMAGE_PIXELS


@contextmanager
def readable_errors(place: str | Path) -> Iterator[None]:
    """Turn what reading a picture raises into ``UserError`` with its place."""
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"no such picture: {place}") from None
    except UnidentifiedImageError:
        raise UserError(f"{place} is no picture, or its beginning is damaged") from None
    except Image.DecompressionBombError:
        raise UserError(
            f"the picture {place} has more than {Image.MAX_IMAGE_PIXELS:,} pixels, too many to "
            f"decode; make it smaller, or allow more by the environment variable {MAX_PIXELS}"
        ) from None
    except Exception as error:  # Pillow's decoders raise anything on damaged files
        raise UserError(f"the picture {place} cannot be decoded: {reason(error)}") from None
