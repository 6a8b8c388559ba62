"""Put an archive into CoOp's layout: unpack it beside its place, verify it, then rename it."""

import shutil
from pathlib import Path

from softprompt.core.base.errors import UserError
from softprompt.core.base.files import publish, write_atomically, writing_to
from softprompt.core.data.dataset import Dataset
from softprompt.core.data.sources import Entry
from softprompt.core.data.splits import PUBLISHED, SplitFileDataset, read_bytes
from softprompt.core.download.archive import ArchiveError, unpack

WORK = ".download"  # in the dataset's folder, so on the same disk


def absent_parts(entry: Entry, root: Path) -> list[str]:
    """Return the files and folders of a dataset that are missing below ``root``."""
    folder = root / entry.folder
    return [part for part, *_ in entry.parts if not (folder / part).exists()]


def place(archive: Path, entry: Entry, root: Path, cls: type[Dataset], exact: bool) -> None:
    """Move the pictures of an archive, and a split file in it, to where ``cls`` expects them.

    Args:
        exact: the number of pictures must be the published one.

    Raises:
        ArchiveError: it is damaged or incomplete; nothing was moved.
    """
    folder = root / entry.folder
    tree, stage = folder / WORK / "unpacked", folder / WORK / "stage"
    try:
        for leftover in (tree, stage):
            shutil.rmtree(leftover, ignore_errors=True)
        unpack(archive, tree)
        staged = stage / entry.folder
        staged.mkdir(parents=True)
        for part, found in _find(tree, entry, archive).items():
            (staged / part).parent.mkdir(exist_ok=True)
            found.rename(staged / part)
        names = [part for part, *_ in entry.parts]
        split = _place_split(cls, tree, staged, folder)
        write_packaged(entry, staged, cls)
        _verify(archive, entry, stage, cls, exact)
        with writing_to(folder):
            for part in [*names, *split]:
                if not (folder / part).exists():
                    (folder / part).parent.mkdir(exist_ok=True)
                    publish(staged / part, folder / part)
    finally:
        for leftover in (tree, stage):
            shutil.rmtree(leftover, ignore_errors=True)


def _find(tree: Path, entry: Entry, archive: Path) -> dict[str, Path]:
    """Return the places of the parts in an unpacked archive: side by side, at any depth."""
    parts = _side_by_side(tree, entry.parts)
    if parts is None:  # Caltech's archive contains another archive with the pictures
        aliases = {alias for part in entry.parts for alias in part}
        for number, inner in enumerate(sorted(tree.rglob("*"))):
            if inner.is_file() and inner.name.split(".")[0] in aliases:
                unpack(inner, tree / f"inner-{number}")
                inner.unlink()
        parts = _side_by_side(tree, entry.parts)
    if parts is None:
        wanted = ", ".join(part for part, *_ in entry.parts)
        there = sorted(path.name for path in tree.iterdir())
        raise ArchiveError(f"{archive} has no {wanted} in it, but {', '.join(there[:5])}")
    return parts


def _side_by_side(tree: Path, parts: tuple[tuple[str, ...], ...]) -> dict[str, Path] | None:
    level = [tree]
    while level:
        for folder in level:
            places = ((part[0], folder / alias) for part in parts for alias in part[::-1])
            found = {part: place for part, place in places if place.exists()}
            if len(found) == len(parts):
                return found
        level = [
            place
            for folder in level
            for place in sorted(folder.iterdir())
            if place.is_dir() and not place.name.startswith((".", "__MACOSX"))
        ]
    return None


def _place_split(cls: type[Dataset], tree: Path, staged: Path, folder: Path) -> list[str]:
    """Stage the split file to use, the disk's or else the archive's; return what to move."""
    names = ["classnames.txt"]
    if issubclass(cls, SplitFileDataset):
        names = [cls.split_file]
        inside = next(tree.rglob(cls.split_file), None)
        if inside is not None and not (folder / cls.split_file).exists():
            inside.rename(staged / cls.split_file)
            return names
    for name in names:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, staged / name)
    return []


def _verify(archive: Path, entry: Entry, stage: Path, cls: type[Dataset], exact: bool) -> None:
    """Raise ``ArchiveError`` unless ``cls`` finds all its pictures in ``stage``."""
    if issubclass(cls, SplitFileDataset) and not has_split(cls, stage / entry.folder):
        return  # it is not known yet which pictures are needed
    try:
        dataset = cls(stage)
        counts = tuple(len(items) for items in dataset.splits().values())
    except UserError as error:
        raise ArchiveError(f"{archive} does not hold the whole dataset: {error}") from None
    if exact and counts != entry.counts and not isinstance(dataset, SplitFileDataset):
        raise ArchiveError(f"{archive} holds {counts} pictures, not {entry.counts}")


def has_split(cls: type[SplitFileDataset], folder: Path) -> bool:
    """Return whether the split file is in ``folder`` or comes with the package."""
    return (folder / cls.split_file).is_file() or (PUBLISHED / f"{cls.split_file}.gz").is_file()


def write_packaged(entry: Entry, folder: Path, cls: type[Dataset]) -> None:
    """Copy the package's files beside the pictures, where CoOp's own code expects them."""
    names = list(entry.package)
    if issubclass(cls, SplitFileDataset):
        names.append(cls.split_file)
    for name in names:
        packed, file = PUBLISHED / f"{name}.gz", folder / name.removeprefix("imagenet_")
        if packed.is_file() and not file.exists():
            with writing_to(file):
                write_atomically(file, read_bytes(packed))
