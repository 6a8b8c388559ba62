"""Open a picture file, and tell in one line why it cannot be read."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from PIL import Image, UnidentifiedImageError

from softprompt.core.base.errors import UserError, reason

MAX_PIXELS = "SOFTPROMPT_MAX_PIXELS"  # environment variable: the largest picture to decode


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
