"""Unpacking tar and zip files that nobody vouches for."""

import gzip
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import IO

from softprompt.core.download.disk import CHUNK, SourceError, writing_to

MOST_BYTES = 400_000_000_000  # ImageNet's training pictures are 138 GB
MOST_FILES = 4_000_000
MOST_RATIO = 100  # unpacked to packed; pictures hardly shrink
UNSUSPICIOUS = 100_000_000  # bytes, whatever the ratio


class ArchiveError(SourceError):
    """An archive that is damaged, or asks for what no dataset needs."""


def unpack(archive: Path, folder: Path, most_bytes: int = MOST_BYTES) -> None:
    """Unpack the regular files of an archive to ``folder``, which is made.

    Permissions, owners and times are not taken over. After an error nothing of it is left.

    Raises:
        ArchiveError: it is damaged, has an entry that would land outside ``folder`` or is a link or
            a device, or unpacks to more than ``most_bytes``, or than ``MOST_RATIO`` times its size.
        DiskFull: no room is left.
    """
    folder.mkdir(parents=True)
    try:
        with writing_to(folder / archive.name), _reading(archive):
            for path, content in _entries(archive, _Budget(archive, most_bytes)):
                target = folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                with content, open(target, "wb") as opened:
                    shutil.copyfileobj(content, opened, CHUNK)
    except BaseException:
        shutil.rmtree(folder)
        raise


class _Budget:
    """How much an archive may still unpack, counted by the sizes it states, before they come."""

    def __init__(self, archive: Path, most_bytes: int):
        self.archive = archive
        self.most = min(most_bytes, max(UNSUSPICIOUS, MOST_RATIO * archive.stat().st_size))
        self.bytes = self.files = 0

    def spend(self, size: int) -> None:
        self.bytes += size
        self.files += 1
        if self.bytes > self.most:
            raise ArchiveError(f"{self.archive} unpacks to more than {self.most:,} bytes")
        if self.files > MOST_FILES:
            raise ArchiveError(f"{self.archive} holds more than {MOST_FILES:,} files")


def _entries(archive: Path, budget: _Budget) -> Iterator[tuple[PurePosixPath, IO[bytes]]]:
    """Yield path and content of every regular file."""
    with open(archive, "rb") as opened:
        is_zip = opened.read(2) == b"PK"
    return _zip_entries(archive, budget) if is_zip else _tar_entries(archive, budget)


def _zip_entries(archive: Path, budget: _Budget) -> Iterator[tuple[PurePosixPath, IO[bytes]]]:
    with zipfile.ZipFile(archive) as opened:
        for entry in opened.infolist():
            budget.spend(entry.file_size)
        for entry in opened.infolist():
            path = _checked(entry.filename, archive)
            if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise ArchiveError(f"{archive} has {entry.filename!r}, a link or a device")
            if entry.flag_bits & 1:
                raise ArchiveError(f"{archive} has {entry.filename!r}, which is encrypted")
            if not entry.is_dir():
                yield path, opened.open(entry)


def _tar_entries(archive: Path, budget: _Budget) -> Iterator[tuple[PurePosixPath, IO[bytes]]]:
    with tarfile.open(archive, "r:*") as opened:
        for entry in opened:
            path = _checked(entry.name, archive)
            if not (entry.isreg() or entry.isdir()):
                raise ArchiveError(f"{archive} has {entry.name!r}, a link or a device")
            if entry.isreg():
                budget.spend(entry.size)
                yield path, opened.extractfile(entry)
        if opened.fileobj.tell() == opened.offset:  # no closing block was read
            raise ArchiveError(f"{archive} is cut off")


def _checked(name: str, archive: Path) -> PurePosixPath:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or "\0" in name or re.match("[A-Za-z]:", name):
        raise ArchiveError(f"{archive} has the entry {name!r}, which would land elsewhere")
    return path


@contextmanager
def _reading(archive: Path):
    """Turn what the libraries raise for a damaged archive into one line."""
    try:
        yield
    except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
        raise ArchiveError(f"{archive} has a file and a folder named {error.filename}") from None
    except (
        *(tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, LZMAError),
        *(EOFError, RuntimeError, NotImplementedError, UnicodeError),
    ) as error:
        reason = str(error).partition("\n")[0].rstrip(":")  # tarfile goes on with each attempt
        raise ArchiveError(f"{archive} is damaged, or no archive: {reason}") from None
    except OSError as error:
        if error.errno:
            raise
        raise ArchiveError(f"{archive} is damaged: {error}") from None  # bz2 says it so
