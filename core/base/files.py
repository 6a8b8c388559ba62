"""Files: the package's own data, and writing so that neither a crash nor a full disk does harm."""

import errno
import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from softprompt.core.base.errors import UserError, shown

# Everything that is neither code nor configuration: the small CLIP, splits, published numbers.
ASSETS = Path(__file__).resolve().parents[1] / "assets"
CONFIGS = ASSETS.parents[1] / "configs"  # the shipped configurations, beside core
LONGEST_NAME = 255  # bytes of a file's name, on every common file system
GIGABYTE = 2**30  # bytes
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the disk, the user's share, a file's size limit
MANY = 100  # files; to sync more of them, all of the system's are synced at once


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


class DiskFull(UserError):
    """There is no room for what was to be written."""


@contextmanager
def writing_to(place: Path, then: str = "run the same command again") -> Generator[None]:
    """Turn the system's errors of writing to ``place`` into ``UserError`` or ``DiskFull``.

    Args:
        then: what to do once there is room.
    """
    try:
        yield
    except OSError as error:
        raise write_error(error, place, then) from None


def write_error(error: OSError, place: str | Path, then: str) -> UserError:
    """Return what to tell a user of the system's error of writing to ``place``."""
    if error.errno in FULL:
        return DiskFull(
            f"no space left on the disk of {Path(place).absolute().parent} ({error.strerror}); "
            f"what is there is kept, so make room and {then}"
        )
    return UserError(f"cannot write {place}: {error.strerror or error}")


def write_atomically(file: Path, content: bytes | str) -> None:
    """Write a file beside its place and rename it, so that readers see all of it or nothing.

    The content is on the disk before the rename, so this holds after a power cut, too. Any number
    of processes may write the same file at once; the last rename wins. The folder must exist. A
    link leads to the file that is written, and a pipe or device is written as it is.

    Args:
        content: text is written as UTF-8, its line ends as they are.

    Raises:
        OSError: it cannot be written; the file is what it was, and nothing is left beside it.
    """
    data = content.encode() if isinstance(content, str) else content
    if file.exists() and not file.is_file() and not file.is_dir():
        file.write_bytes(data)
        return
    file = file.resolve() if file.is_symlink() else file
    partial = file.with_name(f".{file.name}.{uuid4().hex}.partial")
    try:
        partial.write_bytes(data)
        publish(partial, file)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise


def publish(partial: Path, final: Path) -> None:
    """Rename a finished file or folder to its final name, durably: first its content is synced.

    Everything that is renamed into place goes through here.

    Raises:
        OSError: it cannot be synced or renamed.
    """
    files = [file for file in partial.rglob("*") if file.is_file()] if partial.is_dir() else []
    if len(files) > MANY and hasattr(os, "sync"):
        os.sync()
    else:
        for file in files or [partial]:
            _sync(file)
    partial.replace(final)
    _sync(final.parent)


def _sync(path: Path) -> None:
    """Wait until a file, or a rename in a folder, is on the disk."""
    on_windows = os.name == "nt"  # it opens no folder, and syncs no file that is open for reading
    is_folder = path.is_dir()
    if on_windows and is_folder:
        return
    descriptor = os.open(path, os.O_RDWR if on_windows else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some shared file systems cannot sync a folder, and some of them no file.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
