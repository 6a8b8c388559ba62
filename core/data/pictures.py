"""Picture files: list, read, identify and keep them in memory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Hashable, Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from softprompt.core.base.errors import UserError, reason
from softprompt.core.base.files import GIGABYTE
from softprompt.core.data.decoding import Decoding, decode
from softprompt.core.data.opening import check_regular, open_picture, readable_errors

if TYPE_CHECKING:  # downloads list and check pictures without torch, which takes a second
    from torch import Tensor

# Pillow opens more (.pdf, .eps, .hdf5 ...), but no folder of pictures means those.
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp"}
    | {".tif", ".tiff", ".ppm", ".pgm"}
)
JPEG_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif"})


class FileReader:
    """Read pictures below one folder.

    Attributes:
        decoding: how a picture becomes RGB; a run sets it to what its configuration says.
    """

    decoding = Decoding()

    def __init__(self, folder: str):
        self.folder = folder

    def __call__(self, path: str) -> Image.Image:
        """Return the picture in RGB.

        Raises:
            UserError: the file is missing or cannot be decoded; the message holds its path.
        """
        file = Path(self.folder, path)
        return decode(file, file, self.decoding)

    def content(self, path: str) -> bytes:
        """Return the bytes of the file; errors are those of the picture."""
        file = Path(self.folder, path)
        with readable_errors(file):
            check_regular(file)
            return file.read_bytes()


class JpegReader:
    """Read pictures below one folder, JPEG files by torchvision, to the same pixels as Pillow."""

    def __init__(self, files: FileReader):
        """Read what ``files`` reads."""
        self.files = files

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
                # torchvision converts four channels to RGB in another way than Pillow.
                same = image.mode in ("RGB", "L") and self.files.decoding.is_plain(image)
            if same:
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
    """Return a hash of a picture: of its file, or of its pixels.

    It is of the pixels where the picture comes from no file, or where more than Pillow's own
    conversion to RGB stands between the two.

    Args:
        read: a reader of pictures, or a ``SizeLimitedCache`` of one.

    Raises:
        UserError: it cannot be read.
    """
    source = read.function if isinstance(read, SizeLimitedCache) else read
    files = source.files if isinstance(source, JpegReader) else source
    if isinstance(files, FileReader):
        content = files.content(path)
        with open_picture(BytesIO(content), Path(files.folder, path)) as opened:
            plain = files.decoding.is_plain(opened)
        if plain:
            return hashlib.sha256(content).hexdigest()
    image = read(path)
    return hashlib.sha256(f"{image.mode} {image.size}".encode() + image.tobytes()).hexdigest()


def list_pictures(folder: Path) -> list[str]:
    """Return the sorted names of the pictures directly in ``folder``.

    Raises:
        UserError: there is none.
    """
    names = sorted(filter(is_picture, file_names(folder)))
    if not names:
        raise UserError(f"the class folder {folder} holds no picture")
    return names


def is_picture(name: str) -> bool:
    """Return whether a file of this name counts as a picture; hidden files never do."""
    return os.path.splitext(name)[1].lower() in SUFFIXES and not name.startswith(".")


def file_names(folder: Path) -> list[str]:
    """Return the names of the files in a folder, and of links, which may lead to some.

    Raises:
        UserError: it cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            # Both are known without asking for each file's status, which is slow over a network.
            return [e.name for e in entries if e.is_symlink() or e.is_file(follow_symlinks=False)]
    except OSError as error:
        raise UserError(f"the folder {folder} cannot be listed: {reason(error)}") from None


def walk(folder: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Yield what ``os.walk`` does; a folder that cannot be listed is an error, not left out.

    Raises:
        UserError: there is such a folder.
    """

    def fail(error: OSError) -> None:
        raise UserError(f"the folder {error.filename} cannot be listed: {reason(error)}")

    for parent, folders, names in os.walk(folder, onerror=fail):
        yield Path(parent), folders, names


def list_folders(folder: Path) -> list[str]:
    """Return the sorted names of the folders in ``folder``, except hidden ones and __MACOSX.

    Raises:
        UserError: it cannot be listed.
    """
    if not folder.is_dir():
        return []
    try:
        return sorted(
            place.name
            for place in folder.iterdir()
            if place.is_dir() and not place.name.startswith((".", "__MACOSX"))
        )
    except OSError as error:
        raise UserError(f"the folder {folder} cannot be listed: {reason(error)}") from None
