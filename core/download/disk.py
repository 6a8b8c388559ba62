"""What all of this folder does with files: one-line errors, durable renames, checksums."""

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from softprompt.core.errors import UserError

CHUNK = 1 << 20


class SourceError(UserError):
    """This source cannot serve; another one may."""


class DiskFull(UserError):
    """No room is left, so no other source can help."""


@contextmanager
def writing_to(place: Path) -> Iterator[None]:
    """Turn the system's errors of writing to ``place`` into one line."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(
                f"no space left on the disk of {place.parent}; what is there is kept, so make room "
                "and run the same command again"
            ) from None
        raise UserError(f"cannot write {place}: {error.strerror or error}") from None


def publish(partial: Path, file: Path) -> None:
    """Give a finished file or folder its name, durably."""
    if partial.is_dir() and hasattr(os, "sync"):
        os.sync()  # once, not for each of a hundred thousand pictures
    partial.replace(file)
    if os.name == "posix":
        descriptor = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sha256_of(file: Path) -> str:
    digest = hashlib.sha256()
    with open(file, "rb") as opened:
        while chunk := opened.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
