"""Files: the package's own data, and writing a file in one step."""

import errno
import os
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from softprompt.core.base.errors import UserError, shown

# Everything that is neither code nor configuration: the small CLIP, splits, published numbers.
ASSETS = Path(__file__).resolve().parents[1] / "assets"
CONFIGS = ASSETS.parents[1] / "configs"  # the shipped configurations, beside core
LONGEST_NAME = 255  # bytes of a file's name, on every common file system
GIGABYTE = 2**30  # bytes


def check_folder(folder: Path, name: str) -> None:
    """Raise ``UserError`` unless files can be written to a folder, which need not exist yet.

    Nothing is created. Tools call it before they begin to work.

    Args:
        name: of the flag or key that sets the folder, for the message.
    """
    there = _existing(folder, name)
    if not there.is_dir():
        where = "is a file" if there == folder else f"lies below {there}, which is a file"
        raise UserError(f"{name} {folder} {where}; give a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        where = "" if there == folder else f": there is no permission to write to {there}"
        raise UserError(f"{name} {folder} cannot be written{where}; give another folder")


def check_file(file: Path, name: str) -> None:
    """Raise ``UserError`` unless a file can be written, as ``check_folder`` does."""
    if _existing(file, name) == file:
        if not file.is_file():
            raise UserError(f"{name} {file} is a folder; give a file")
        if not os.access(file, os.W_OK):
            raise UserError(f"{name} {file} cannot be written; give another file")
    check_folder(file.parent, name)


def _existing(place: Path, name: str) -> Path:
    """Return a place, or the nearest folder or file above it that exists."""
    try:
        longest = max(place.parts, key=lambda part: len(os.fsencode(part)), default="")
        if len(os.fsencode(longest)) > LONGEST_NAME:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        for there in (place, *place.absolute().parents):
            with suppress(FileNotFoundError, NotADirectoryError):
                there.stat()
                return there
    except (OSError, ValueError) as error:  # ValueError: a NUL byte
        raise UserError(
            f"{name} {shown(str(place))} is no place to write to: "
            f"{getattr(error, 'strerror', None) or error}"
        ) from None
    return Path(place.absolute().anchor)


def write_atomically(file: Path, content: bytes | str, *, sync: bool = False) -> None:
    """Write a file beside its place and rename it, so that readers see all of it or nothing.

    Any number of processes may write the same file at once; the last rename wins. The folder must
    exist.

    Args:
        content: text is written as UTF-8, its line ends as they are.
        sync: wait until the content is on the disk before the rename.

    Raises:
        OSError: it cannot be written; the file is what it was, and nothing is left beside it.
    """
    partial = file.with_name(f".{file.name}.{uuid4().hex}.partial")
    try:
        with open(partial, "wb") as opened:
            opened.write(content.encode() if isinstance(content, str) else content)
            if sync:
                opened.flush()
                os.fsync(opened.fileno())
        partial.replace(file)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise
