"""Say where a dataset's pictures lie, when they are not where they should be."""

import os
from collections.abc import Iterator
from pathlib import Path
from unicodedata import normalize

from softprompt.core.base.errors import UserError

MOST = 2000  # folders to look into, at most
SHOWN = 5


def elsewhere(image_dir: Path, path: str) -> str:
    """Return where a listed picture that is missing was found, with what to do; "" if nowhere.

    Args:
        image_dir: the folder that ``path`` is relative to.
    """
    slashed = path.replace("\\", "/")
    if slashed != path and (image_dir / slashed).is_file():
        return "its paths have backslashes, as on Windows; with / in their place they are there"
    parts = slashed.split("/")
    if found := _in_other_case(image_dir, parts):
        return f"in another case of letters it is there: {found}"
    for start in range(1, len(parts)):
        if (image_dir / Path(*parts[start:])).is_file():
            front = "/".join(parts[:start])
            if start == len(parts) - 1:
                return f"without its folder {front}/ it is there, so the pictures are not sorted"
            return f"without {front}/ in front it is there, so the paths begin one folder too high"
    for folder in _folders_around(image_dir):
        if (folder / slashed).is_file():
            return f"it was found in {folder}; move what is there to {image_dir}"
    return ""


def folder_elsewhere(root: Path, dataset: str, images: str) -> str:
    """Return where a dataset's folder of pictures was found below ``root``, "" if nowhere.

    Args:
        root: DATASET.ROOT; the folder should be ``root/dataset/images``.
    """
    wanted, home = tuple(map(_alike, Path(images or dataset).parts)), _alike(dataset)
    for folder in _folders_below(root, depth=3):
        parts = [_alike(part) for part in (root.absolute().name, *folder.relative_to(root).parts)]
        if tuple(parts[-len(wanted) :]) == wanted and home in parts:
            return f"there is {folder}, so move or link it to {root / dataset / images}"
    names = _folder_names(root / dataset)
    if names:
        more = " ..." if len(names) > SHOWN else ""
        return f"{root / dataset} holds the folders {', '.join(names[:SHOWN])}{more}"
    return ""


def class_folders_below(folder: Path, names: dict[str, str]) -> Path | None:
    """Return the first folder below that holds folders of these names, None if there is none."""
    return next(
        (place for place in _folders_below(folder, depth=2) if names.keys() & _folder_names(place)),
        None,
    )


def _in_other_case(folder: Path, parts: list[str]) -> Path | None:
    for part in parts:
        try:
            names = os.listdir(folder)
        except OSError:
            return None
        wanted = normalize("NFC", part).casefold()
        name = next((n for n in names if normalize("NFC", n).casefold() == wanted), None)
        if name is None:
            return None
        folder = folder / name
    return folder if folder.is_file() else None


def _folders_around(image_dir: Path) -> Iterator[Path]:
    yield from _folders_below(image_dir, depth=2)
    yield image_dir.parent
    yield from _folders_below(image_dir.parent, depth=2)


def _folders_below(folder: Path, depth: int) -> Iterator[Path]:
    """Yield the folders below, those of one level after those above them."""
    level, count = [folder], 0
    for _ in range(depth):
        level = [parent / name for parent in level for name in _folder_names(parent)]
        level = level[: MOST - count]
        count += len(level)
        yield from level


def _folder_names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))
    except OSError:
        return []


def _alike(name: str) -> str:
    return "".join(filter(str.isalnum, name)).casefold()


def below_root(root: str | Path, named: str, key: str, *, folder: bool) -> Path:
    """Return the file or folder that a setting names, below DATASET.ROOT unless it is absolute.

    Args:
        root: DATASET.ROOT.
        named: the value of the setting.
        key: its name, for the message.

    Raises:
        UserError: there is none; the message says where it is, if that is the current folder.
    """
    exists, what = (Path.is_dir, "folder") if folder else (Path.is_file, "file")
    place = Path(root).expanduser() / Path(named).expanduser()
    if not exists(place):
        message = f"{key}: no {what} {place.absolute()}"
        if exists(Path(named)):
            message += f"; it is looked for below DATASET.ROOT, so give {Path(named).absolute()}"
        raise UserError(message)
    return place
