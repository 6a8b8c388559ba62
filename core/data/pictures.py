"""Picture files: finding, reading and identifying them."""

import hashlib
import os
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from softprompt.core.base.errors import UserError
from softprompt.core.data.cache import SizeLimitedCache

# Pillow opens more (.pdf, .eps, .hdf5 ...), but no folder of pictures means those.
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp"}
    | {".tif", ".tiff", ".ppm", ".pgm"}
)


class FileReader:
    """Reads pictures below one folder."""

    def __init__(self, folder: str):
        self.folder = folder

    def __call__(self, path: str) -> Image.Image:
        """Return the picture in RGB.

        Raises:
            UserError: the file is missing or cannot be decoded; the message holds its path.
        """
        file = Path(self.folder, path)
        with self._named(file), Image.open(file) as image:
            return image.convert("RGB")

    def content(self, path: str) -> bytes:
        """Return the file's content; errors are those of the picture."""
        file = Path(self.folder, path)
        with self._named(file):
            return file.read_bytes()

    @contextmanager
    def _named(self, file: Path):
        try:
            yield
        except FileNotFoundError:
            raise UserError(f"no such picture: {file}") from None
        except UnidentifiedImageError:
            raise UserError(f"{file} is no picture, or its beginning is damaged") from None
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise UserError(f"the picture {file} cannot be decoded: {error}") from None


def list_pictures(folder: Path) -> list[str]:
    """Return the sorted names of the pictures that stand directly in ``folder``.

    Raises:
        UserError: there is none.
    """
    names = sorted(filter(is_picture, os.listdir(folder)))
    if not names:
        raise UserError(f"the class folder {folder} holds no picture")
    return names


def is_picture(name: str) -> bool:
    """Whether a file of this name is taken for a picture; hidden files never are."""
    return os.path.splitext(name)[1].lower() in SUFFIXES and not name.startswith(".")


def list_folders(folder: Path) -> list[str]:
    """Return the sorted names of the folders in ``folder``, but for hidden ones and __MACOSX."""
    if not folder.is_dir():
        return []
    return sorted(
        place.name
        for place in folder.iterdir()
        if place.is_dir() and not place.name.startswith((".", "__MACOSX"))
    )


def picture_fingerprint(read, path: str) -> str:
    """Return a hash of a picture: of its file, or of its pixels where it does not stand in one.

    Raises:
        UserError: it cannot be read.
    """
    source = read.function if isinstance(read, SizeLimitedCache) else read
    if isinstance(source, FileReader):
        return hashlib.sha256(source.content(path)).hexdigest()
    image = read(path)
    return hashlib.sha256(f"{image.mode} {image.size}".encode() + image.tobytes()).hexdigest()
