"""Picture files: list, read, identify and keep them in memory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from PIL import Image, UnidentifiedImageError

from softprompt.core.base.errors import UserError, reason
from softprompt.core.base.files import GIGABYTE

if TYPE_CHECKING:  # downloads list and check pictures without torch, which takes a second
    from torch import Tensor

# Pillow opens more (.pdf, .eps, .hdf5 ...), but no folder of pictures means those.
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp"}
    | {".tif", ".tiff", ".ppm", ".pgm"}
)
JPEG_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif"})
MAX_PIXELS = "SOFTPROMPT_MAX_PIXELS"  # environment variable: the largest picture to decode


class FileReader:
    """Read pictures below one folder."""

    def __init__(self, folder: str):
        self.folder = folder

    def __call__(self, path: str) -> Image.Image:
        """Return the picture in RGB.

        Raises:
            UserError: the file is missing or cannot be decoded; the message holds its path.
        """
        file = Path(self.folder, path)
        return decode(file, file)

    def content(self, path: str) -> bytes:
        """Return the bytes of the file; errors are those of the picture."""
        file = Path(self.folder, path)
        with _readable_errors(file):
            return file.read_bytes()


class JpegReader:
    """Read pictures below one folder, JPEG files by torchvision, to the same pixels as Pillow."""

    def __init__(self, folder: str):
        self.files = FileReader(folder)

    def __call__(self, path: str) -> Tensor | Image.Image:
        """Return the picture in RGB, ``(3, height, width)`` uint8 if it is a JPEG file.

        Raises:
            UserError: as of ``FileReader``.
        """
        if Path(path).suffix.lower() not in JPEG_SUFFIXES:
            return self.files(path)
        content = self.files.content(path)
        try:
            with open_picture(BytesIO(content), Path(self.files.folder, path)) as image:
                mode = image.mode
            # torchvision converts four channels to RGB in another way than Pillow.
            if mode in ("RGB", "L"):
                import torch
                from torchvision.io import ImageReadMode, decode_jpeg

                data = torch.frombuffer(bytearray(content), dtype=torch.uint8)
                pixels: Any = decode_jpeg(data, mode=ImageReadMode.RGB)
                return pixels
        except ImportError:  # deprecated since 0.29, so some release will not have it
            pass
        except (OSError, RuntimeError):  # damaged; users are given Pillow's message
            pass
        return self.files(path)

    def content(self, path: str) -> bytes:
        """Return the bytes of the file; errors are those of the picture."""
        return self.files.content(path)


class SizeLimitedCache:
    """Memoize a function of one argument until a limit of memory is used.

    What does not fit is computed anew each time. A copy for another process, such as a loader's
    worker, starts empty, with the whole limit.
    """

    def __init__(self, function: Callable[[Any], Any], limit_gb: float):
        """Start empty.

        Args:
            function: returns PIL images or tensors.
            limit_gb: gigabytes of results to keep.
        """
        self.function = function
        self.free = limit_gb * GIGABYTE
        self._results: dict[Hashable, Any] = {}

    def __call__(self, argument: Hashable) -> Any:
        if argument in self._results:
            return self._results[argument]
        result = self.function(argument)
        size = size_of(result)
        if size <= self.free:
            self.free -= size
            self._results[argument] = result
        return result

    def __getstate__(self) -> dict[str, Any]:
        used = sum(map(size_of, self._results.values()))
        return self.__dict__ | {"_results": {}, "free": self.free + used}


def size_of(image: Image.Image | Tensor) -> int:
    """Return the bytes of a decoded picture."""
    if isinstance(image, Image.Image):
        return image.width * image.height * len(image.getbands())
    return image.nbytes


def picture_fingerprint(read: Callable[[str], Any], path: str) -> str:
    """Return a hash of a picture: of its file, or of its pixels if it comes from none.

    Args:
        read: a reader of pictures, or a ``SizeLimitedCache`` of one.

    Raises:
        UserError: it cannot be read.
    """
    source = read.function if isinstance(read, SizeLimitedCache) else read
    if isinstance(source, FileReader | JpegReader):
        return hashlib.sha256(source.content(path)).hexdigest()
    image = read(path)
    return hashlib.sha256(f"{image.mode} {image.size}".encode() + image.tobytes()).hexdigest()


def list_pictures(folder: Path) -> list[str]:
    """Return the sorted names of the pictures directly in ``folder``.

    Raises:
        UserError: there is none.
    """
    names = sorted(filter(is_picture, os.listdir(folder)))
    if not names:
        raise UserError(f"the class folder {folder} holds no picture")
    return names


def is_picture(name: str) -> bool:
    """Return whether a file of this name counts as a picture; hidden files never do."""
    return os.path.splitext(name)[1].lower() in SUFFIXES and not name.startswith(".")


def list_folders(folder: Path) -> list[str]:
    """Return the sorted names of the folders in ``folder``, except hidden ones and __MACOSX."""
    if not folder.is_dir():
        return []
    return sorted(
        place.name
        for place in folder.iterdir()
        if place.is_dir() and not place.name.startswith((".", "__MACOSX"))
    )


def decode(source: Path | IO[bytes], place: str | Path) -> Image.Image:
    """Return a picture in RGB.

    Args:
        place: its location, for messages.

    Raises:
        UserError: it is missing, too large or cannot be decoded.
    """
    with open_picture(source, place) as image:
        return image.convert("RGB")


@contextmanager
def open_picture(source: Path | IO[bytes], place: str | Path) -> Iterator[Image.Image]:
    """Open a picture whose pixels have not been decoded yet.

    More pixels than ``PIL.Image.MAX_IMAGE_PIXELS``, for which Pillow only warns, are an error: a
    small file can claim to have so many that decoding them takes all memory. The environment
    variable ``SOFTPROMPT_MAX_PIXELS`` sets this limit.

    Raises:
        UserError: it is missing, too large or cannot be decoded, also while it is open.
    """
    limit = _pixel_limit()
    with _readable_errors(place), Image.open(source) as image:
        if limit is not None and image.width * image.height > limit:
            raise Image.DecompressionBombError
        yield image


def _pixel_limit() -> int | None:
    allowed = os.environ.get(MAX_PIXELS)
    if allowed:
        if not allowed.isdecimal() or not int(allowed):
            raise UserError(f"{MAX_PIXELS} is {allowed!r}, but takes a whole number of pixels")
        Image.MAX_IMAGE_PIXELS = int(allowed)  # Pillow's is an error itself from twice this on
    return Image.MAX_IMAGE_PIXELS


@contextmanager
def _readable_errors(place: str | Path) -> Iterator[None]:
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
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"the picture {place} cannot be decoded: {reason(error)}") from None
