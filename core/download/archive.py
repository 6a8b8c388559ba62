"""Unpack tar and zip files of unknown origin safely."""

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
from typing import IO, Any

from softprompt.core.base.files import writing_to
from softprompt.core.download.disk import CHUNK, SourceError

MOST_BYTES = 400_000_000_000  # ImageNet's training pictures are 138 GB
MOST_FILES = 4_000_000
MOST_RATIO = 100  # unpacked to packed; pictures hardly shrink
UNSUSPICIOUS = 100_000_000  # bytes that any archive may unpack to, whatever the ratio


class ArchiveError(SourceError):
    """An archive that is damaged, or has entries that no dataset needs."""


def unpack(archive: Path, folder: Path, most_bytes: int = MOST_BYTES) -> None:
    """Unpack the regular files of an archive to a new ``folder``.

    Permissions, owners and times are not restored. After an error the folder is removed.

    Raises:
        ArchiveError: it is damaged, has an entry that is a link or a device or leads outside
            ``folder``, or unpacks to more than ``most_bytes``, or than ``MOST_RATIO`` times its
            size.
        DiskFull: the disk is full.
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
    """Limit what an archive unpacks to, by the sizes that its entries state."""

    def __init__(self, archive: Path, most_bytes: int):
        self.archive = archive
        self.most = min(most_bytes, max(UNSUSPICIOUS, MOST_RATIO * archive.stat().st_size))
        self.bytes = self.files = 0

    def spend(self, size: int) -> None:
        """Count a file before it is unpacked; raise ``ArchiveError`` beyond a limit."""
        self.bytes += size
        self.files += 1
        if self.bytes > self.most:
            raise ArchiveError(f"{self.archive} unpacks to more than {self.most:,} bytes")
        if self.files > MOST_FILES:
            raise ArchiveError(f"{self.archive} holds more than {MOST_FILES:,} files")


def _entries(archive: Path, budget: _Budget) -> Iterator[tuple[PurePosixPath, IO[bytes]]]:
    """Return an iterator over path and content of every regular file."""
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
                content = opened.extractfile(entry)
                if content is not None:  # never of a regular file
                    yield path, content
        packed: Any = opened.fileobj
        if packed.tell() == opened.offset:  # no closing block was read
            raise ArchiveError(f"{archive} is cut off")


def _checked(name: str, archive: Path) -> PurePosixPath:
    """Return an entry's path; raise ``ArchiveError`` if it leads outside the folder."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or "\0" in name or re.match("[A-Za-z]:", name):
        raise ArchiveError(f"{archive} has the entry {name!r}, which would land elsewhere")
    return path


@contextmanager
def _reading(archive: Path) -> Iterator[None]:
    """Turn what the libraries raise for a damaged archive into ``ArchiveError``."""
    try:
        yield
    except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
        raise ArchiveError(f"{archive} has a file and a folder named {error.filename}") from None
    except (
        *(tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, LZMAError),
        *(EOFError, RuntimeError, UnicodeError),  # an unknown compression is a RuntimeError
    ) as error:
        reason = str(error).partition("\n")[0].rstrip(":")  # tarfile appends each attempt
        raise ArchiveError(f"{archive} is damaged, or no archive: {reason}") from None
    except OSError as error:
        if error.errno:
            raise
        raise ArchiveError(f"{archive} is damaged: {error}") from None  # raised by bz2
