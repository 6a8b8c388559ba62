"""The base class of datasets, and what they share: items, checks of files, text lists."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from softprompt.core.base.errors import UserError
from softprompt.core.base.registry import place
from softprompt.core.data.layout import elsewhere, folder_elsewhere
from softprompt.core.data.pictures import FileReader, file_names
from softprompt.core.data.sources import SOURCES

SPLITS = ("train", "val", "test")


class Item(NamedTuple):
    """A picture and its class."""

    path: str  # relative to the dataset's image folder, forward slashes
    label: int  # index into the dataset's class names


Splits = dict[str, list[Item]]  # "train", "val" and "test"


class Dataset:
    """Base class of datasets: class names, and the pictures of train, val and test.

    To add one, register a subclass, in a file that PLUGINS lists. Its constructor takes the folder
    that holds all datasets; what follows the ``*`` are its options, here ``DATASET.INSECTS.SIZE``::

        from softprompt.core import DATASETS, Dataset, Item

        @DATASETS.register("insects")
        class Insects(Dataset):
            '''Ants and bees.'''

            folder = "insects"

            def __init__(self, root, *, size: str = "small"):
                super().__init__(root)
                self.image_dir = self.folder_of("insects", f"images_{size}")  # it must exist
                self.classnames = ("ant", "bee")

            def splits(self):
                train = [Item("ant/1.jpg", 0), Item("bee/1.jpg", 1)]
                return {"train": train, "val": [], "test": [Item("ant/2.jpg", 0)]}

    Few-shot draws and base and new classes are made of these lists elsewhere, alike for all
    datasets. ``reader`` is overridden where pictures are not files, and ``known_classnames`` and
    ``listed`` where something is known before the pictures are on the disk.

    Attributes:
        root: the folder that holds all datasets.
        classnames: the name of each label, to be set by the constructor.
        image_dir: the folder that ``Item.path`` is relative to, to be set by the constructor.
        folder: below ``root``, holds the pictures and gets the few-shot lists; empty: no lists.
        templates: for a preset ("coop", "kgcoop", "prograd"), the sentences that its paper uses.
        note: a warning for readers of the results, such as that the split is not the published one.
    """

    folder: str = ""
    templates: dict[str, str | tuple[str, ...]] = {}
    note: str = ""

    classnames: tuple[str, ...]
    image_dir: Path

    def __init__(self, root: str | Path):
        self.root = Path(root).expanduser()

    @classmethod
    def known_classnames(cls) -> tuple[str, ...]:
        """Return the class names if they are known without the dataset on the disk, or ()."""
        return ()

    def splits(self) -> Splits:
        """Return the items of "train", "val" and "test", each in its published order."""
        raise UserError(
            f"{place(type(self))} does not define splits(), which returns lists of "
            "Item(path, label) by 'train', 'val' and 'test'"
        )

    def listed(self) -> Splits:
        """Return ``splits()`` without checking that the pictures exist, where that is cheaper."""
        return self.splits()

    def reader(self) -> Callable[[str], Image.Image]:
        """Return a function from ``Item.path`` to the picture in RGB; it must survive pickling."""
        return FileReader(str(self.image_dir))

    def folder_of(self, dataset: str, images: str) -> Path:
        """Return ``ROOT/dataset/images``.

        Raises:
            UserError: there is no such folder; the message holds it and DATASET.ROOT.
        """
        folder = self.root / dataset / images
        if folder.is_dir():
            return folder
        message = (
            f"no folder {folder.absolute()}, where {type(self).__name__} has its pictures; "
            f"DATASET.ROOT is {self.root}, the folder that holds {dataset}/"
        )
        if images and (self.root / images).is_dir():
            message += f"; did you mean {self.root.absolute().parent}?"
        elif found := folder_elsewhere(self.root, dataset, images):
            message += f"; {found}"
        else:
            names = (name for name, entry in SOURCES.items() if entry.folder == dataset)
            message += "".join(
                f"; python tools/download.py {name} --root {self.root} gets it" for name in names
            )
        raise UserError(message)


def check_inside(image_dir: Path, paths: Iterable[str], named_by: Path) -> None:
    """Raise ``UserError`` naming the first path in a file that leads out of the image folder.

    A file may come from anywhere, the folder is the user's: links in it may lead where they will,
    so a path is resolved only if it is absolute or contains ``..``.
    """
    for path in paths:
        absolute = os.path.isabs(path) or os.path.splitdrive(path)[0]
        if not absolute and ".." not in path.replace("\\", "/").split("/"):
            continue
        try:
            if (image_dir / path).resolve().is_relative_to(image_dir.resolve()):
                continue
        except (OSError, RuntimeError, ValueError):  # no path at all, or links in a circle
            pass
        raise UserError(
            f"{named_by} names the picture {path!r}, which lies outside of {image_dir}; its paths "
            "must be relative to that folder and stay in it"
        )


def check_splits(dataset: Dataset, splits: Splits) -> Splits:
    """Return what ``splits()`` of a dataset returned, if it is of that form; "val" may be missing.

    Raises:
        UserError: it is none, an item has no label of a class, or a class has no name.
    """
    source, count = f"{place(type(dataset))}: splits()", len(dataset.classnames)
    form = "lists of Item(path, label) by 'train', 'val' and 'test'"
    for label, name in enumerate(dataset.classnames):
        if not str(name).strip():
            raise UserError(
                f"class {label} of {type(dataset).__name__} has the empty name {name!r}; sentences "
                "need a word for it (rename its folder, or give DATASET.NAMES_FILE)"
            )
    if not isinstance(splits, dict):
        raise UserError(f"{source} returned {type(splits).__name__}; it returns {form}")
    lacking = [split for split in ("train", "test") if split not in splits]
    if lacking:
        raise UserError(
            f"{source} returned {list(splits)}, without {lacking[0]!r}; it returns {form}"
        )
    labels = set(range(count))
    for split, items in splits.items():
        if not isinstance(items, list | tuple):
            raise UserError(
                f"{source} returned {type(items).__name__} for {split!r}; it returns {form}"
            )
        for item in items:
            path, label = getattr(item, "path", None), getattr(item, "label", None)
            if label not in labels or not isinstance(path, str):
                raise UserError(
                    f"{source} has {item!r} in {split!r}; it holds Item(path, label) with a text "
                    f"and a label from 0 to {count - 1}, the place of the class in classnames"
                )
    return {"val": [], **splits} if "val" not in splits else splits


def check_files(image_dir: Path, items: Iterable[Item], named_by: Path) -> None:
    """Raise ``UserError`` naming the first picture that a file lists and the disk lacks."""
    missing = missing_files(image_dir, items)
    if missing:
        others = f" (and {len(missing) - 1:,} others)" if len(missing) > 1 else ""
        found = elsewhere(image_dir, missing[0])
        raise UserError(
            f"{named_by} names {image_dir / missing[0]}, which does not exist{others}"
            f"{'; ' if found else ''}{found}"
        )


def missing_files(image_dir: Path, items: Iterable[Item]) -> list[str]:
    """Return the paths of the items that are not on the disk; each folder is listed once."""
    present: dict[str, set[str]] = {}
    missing = []
    for item in items:
        parent, _, name = item.path.rpartition("/")
        if parent not in present:
            folder = image_dir / parent
            present[parent] = set(file_names(folder)) if folder.is_dir() else set()
        if name not in present[parent]:
            missing.append(item.path)
    return missing


def read_lines(file: Path) -> list[str]:
    """Return the lines of a text file, stripped, without empty ones.

    Raises:
        UserError: the file is missing, unreadable or no UTF-8 text.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")  # without the mark that Windows may put first
        lines = [line.strip() for line in text.splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error
        raise UserError(f"cannot read {file}: {reason}") from None
    return [line for line in lines if line]
