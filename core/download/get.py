"""Download one dataset: its pictures and its split, unless they are there already."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from softprompt.core.base.errors import UserError
from softprompt.core.base.files import publish, writing_to
from softprompt.core.base.log import logger
from softprompt.core.base.registry import DATASETS
from softprompt.core.data.dataset import Dataset
from softprompt.core.data.sources import SOURCES, Entry, File
from softprompt.core.data.splits import SplitFileDataset, read_split
from softprompt.core.download.disk import SourceError, sha256_of
from softprompt.core.download.drive import SCHEME, fetch_drive
from softprompt.core.download.fetch import fetch
from softprompt.core.download.ilsvrc import arrange
from softprompt.core.download.make_split import make_split
from softprompt.core.download.place import WORK, absent_parts, has_split, place, write_packaged


def get(
    name: str, root: Path, own: File | None = None, mirror: str = "", make: bool = False
) -> Dataset:
    """Download a dataset to ``root`` in CoOp's layout if necessary, check and return it.

    Args:
        own: use this archive instead of the known ones.
        mirror: an address below which the known archives are tried first.
        make: make a split if CoOp's is missing and cannot be shipped.

    Raises:
        UserError: all sources fail, the disk is full, or the dataset is incomplete.
    """
    entry, cls = SOURCES[name], DATASETS[name]
    folder = root / entry.folder
    if not root.absolute().parent.is_dir():
        raise UserError(f"--root {root}: there is no folder {root.absolute().parent} to make it in")
    if not absent_parts(entry, root):
        logger.info(f"{name}: the pictures are in {folder} already")
        if not issubclass(cls, SplitFileDataset) or has_split(cls, folder):
            with suppress(UserError):  # a disk that others have filled need not be writable
                write_packaged(entry, folder, cls)
            return _checked(name, root, cls)
    with _locked(folder) as work:
        problem = _published_split(cls, folder) if not make else ""
        if not absent_parts(entry, root):
            pass  # another run has put them there
        elif name == "imagenet" and own is None:
            arrange(root)
        else:
            _get_pictures(name, entry, root, cls, own, mirror)
        write_packaged(entry, folder, cls)
        if issubclass(cls, SplitFileDataset) and not has_split(cls, folder):
            if not make:
                raise UserError(problem)
            make_split(name, entry, root, cls)
        dataset = _checked(name, root, cls)
        shutil.rmtree(work, ignore_errors=True)
        return dataset


def sources_of(entry: Entry, own: File | None, mirror: str) -> list[File]:
    """Return the archives that hold the dataset, in the order in which they are tried."""
    if own is not None:
        return [own]
    mirrored = []
    if mirror:
        for file in entry.sources:
            url = f"{mirror.rstrip('/')}/{_basename(file)}"
            if url not in [other.url for other in mirrored]:
                mirrored.append(file._replace(url=url))
    return [*mirrored, *entry.sources]


def _host(file: File) -> str:
    host = "drive.google.com" if file.url.startswith(SCHEME) else urlsplit(file.url).netloc
    return host or file.name


def _basename(file: File) -> str:
    return file.name if file.url.startswith(SCHEME) else Path(urlsplit(file.url).path).name


def _get_pictures(
    name: str, entry: Entry, root: Path, cls: type[Dataset], own: File | None, mirror: str
) -> None:
    folder = root / entry.folder
    failures = []
    for file in sources_of(entry, own, mirror):
        given = _existing(file, folder)
        archive = given or folder / WORK / file.name
        try:
            logger.info(f"{name}: {given or file.url}")
            if given is None:
                fetch_any(file, archive)
            elif own is not None and own.sha256 not in ("", sha256_of(given)):
                raise SourceError(f"{given}: its sha256 is {sha256_of(given)}, not {own.sha256}")
            place(archive, entry, root, cls, exact=own is None)
        except SourceError as error:
            reason = str(error).removeprefix(f"{file.url}: ")
            failures.append(f"{_host(file)}: {reason}")
            logger.info(f"{name}: {reason}")
            if given is None:
                archive.unlink(missing_ok=True)  # damaged, or not the whole dataset
        else:
            if given is None:
                archive.unlink()
            return
    raise UserError(
        f"{name}: no source serves ({'; '.join(failures)}); run it again to go on, or get an "
        f"archive of the pictures yourself ({entry.home}) and give it with --url FILE"
    )


def _existing(file: File, folder: Path) -> Path | None:
    """Return the archive if the user has it already: the file named, or one in the folder."""
    places = [folder / file.name, folder / _basename(file)]
    if "://" not in file.url and not file.url.startswith(SCHEME):
        places.insert(0, Path(file.url).expanduser())
    return next((place for place in places if place.is_file()), None)


def fetch_any(file: File, target: Path) -> None:
    """Download an archive from Google Drive or over HTTP."""
    if file.url.startswith(SCHEME):
        fetch_drive(file.url.removeprefix(SCHEME), target, file.sha256)
    else:
        fetch(file.url, target, file.sha256)


def _published_split(cls: type[Dataset], folder: Path) -> str:
    """Download the split file that cannot be shipped; return why that failed, or ""."""
    if not issubclass(cls, SplitFileDataset) or has_split(cls, folder):
        return ""
    arrived = folder / WORK / cls.split_file
    file = folder / cls.split_file
    try:
        fetch_drive(cls.drive_id, arrived)
        read_split(arrived)
    except UserError as error:
        arrived.unlink(missing_ok=True)
        return (
            f"{error}; without CoOp's split file nobody knows what is train, val and test; get it "
            f"with gdown {cls.drive_id} -O {file}, or make a non-standard one with --make-split"
        )
    publish(arrived, file)
    return ""


def _checked(name: str, root: Path, cls: type[Dataset]) -> Dataset:
    """Return the dataset on the disk; raise ``UserError`` if it is incomplete."""
    try:
        dataset = cls(root)
        splits = dataset.splits()
    except UserError as error:
        raise UserError(
            f"{name} is there, but not whole: {error}; move its pictures away to have them fetched "
            "again"
        ) from None
    counts = ", ".join(f"{len(items):,} {split}" for split, items in splits.items())
    note = f"; {dataset.note}" if dataset.note else ""
    logger.info(f"{name}: {len(dataset.classnames)} classes, {counts} in {dataset.image_dir}{note}")
    return dataset


@contextmanager
def _locked(folder: Path) -> Iterator[Path]:
    """Lock a dataset's folder against other downloads; yield the folder for temporary files."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder / f"{WORK}.lock")
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            logger.info(f"another run is at work in {folder}; waiting for it")
            lock.acquire()
    work = folder / WORK
    try:
        work.mkdir(exist_ok=True)
        yield work
        # Only after success: another run may be waiting for this file's lock.
        with suppress(OSError):
            Path(lock.lock_file).unlink()
    finally:
        with suppress(OSError):
            work.rmdir()  # if it is empty
        lock.release()
