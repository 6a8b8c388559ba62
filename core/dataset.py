"""What a dataset is: class names, and a list of pictures a split."""

import os
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError

from softprompt.core.download.sources import SOURCES
from softprompt.core.errors import UserError

SPLITS = ("train", "val", "test")

# Pillow opens more (.pdf, .eps, .hdf5 ...), but no folder of pictures means those.
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp"}
    | {".tif", ".tiff", ".ppm", ".pgm"}
)


class Item(NamedTuple):
    path: str  # relative to the dataset's image folder, forward slashes
    label: int


class Dataset:
    """Base class of datasets: a subclass sets ``classnames`` and ``image_dir`` and lists items.

    ``templates`` maps a preset ("coop", "kgcoop", "prograd") to the sentence that its paper uses
    for this dataset; ``note`` is what readers of the results must know of the split.
    """

    folder = ""  # below ROOT, where pictures and few-shot lists are; "": nowhere
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

    def splits(self) -> dict[str, list[Item]]:
        """Return the items of "train", "val" and "test", each in its published order."""
        raise TypeError(f"{type(self).__name__} does not define splits()")

    def listed(self) -> dict[str, list[Item]]:
        """Return what ``splits()`` returns, but not necessarily looked up on the disk."""
        return self.splits()

    def reader(self) -> Callable[[str], Image.Image]:
        """Return what reads the picture of ``Item.path``; it must survive pickling."""
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
        else:
            names = (name for name, entry in SOURCES.items() if entry.folder == dataset)
            message += "".join(
                f"; python tools/download.py {name} --root {self.root} gets it" for name in names
            )
        raise UserError(message)


class FileReader:
    """Reads pictures below one folder."""

    def __init__(self, folder: str):
        self.folder = folder

    def __call__(self, path: str) -> Image.Image:
        """Return the picture in RGB.

        Raises:
            UserError: the file is missing or cannot be decoded; the message holds its path.
        """
        file = Path(self.folder, path)
        with self._named(file), Image.open(file) as image:
            return image.convert("RGB")

    def content(self, path: str) -> bytes:
        """Return the file's content; errors are those of the picture."""
        file = Path(self.folder, path)
        with self._named(file):
            return file.read_bytes()

    @contextmanager
    def _named(self, file: Path):
        try:
            yield
        except FileNotFoundError:
            raise UserError(f"no such picture: {file}") from None
        except UnidentifiedImageError:
            raise UserError(f"{file} is no picture, or its beginning is damaged") from None
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise UserError(f"the picture {file} cannot be decoded: {error}") from None


def list_pictures(folder: Path) -> list[str]:
    """Return the sorted names of the pictures that stand directly in ``folder``.

    Raises:
        UserError: there is none.
    """
    names = sorted(filter(is_picture, os.listdir(folder)))
    if not names:
        raise UserError(f"the class folder {folder} holds no picture")
    return names


def is_picture(name: str) -> bool:
    """Whether a file of this name is taken for a picture; hidden files never are."""
    return os.path.splitext(name)[1].lower() in SUFFIXES and not name.startswith(".")


def list_folders(folder: Path) -> list[str]:
    """Return the sorted names of the folders in ``folder``, but for hidden ones and __MACOSX."""
    if not folder.is_dir():
        return []
    return sorted(
        place.name
        for place in folder.iterdir()
        if place.is_dir() and not place.name.startswith((".", "__MACOSX"))
    )


def check_files(image_dir: Path, items: Iterable[Item], named_by: Path) -> None:
    """Raise ``UserError`` naming the first picture that a file lists and the disk lacks."""
    missing = missing_files(image_dir, items)
    if missing:
        others = f" (and {len(missing) - 1:,} others)" if len(missing) > 1 else ""
        raise UserError(f"{named_by} names {image_dir / missing[0]}, which does not exist{others}")


def missing_files(image_dir: Path, items: Iterable[Item]) -> list[str]:
    """Return the paths of the items that are not on the disk; each folder is listed once."""
    present: dict[str, set[str]] = {}
    missing = []
    for item in items:
        parent, _, name = item.path.rpartition("/")
        if parent not in present:
            folder = image_dir / parent
            present[parent] = set(os.listdir(folder)) if folder.is_dir() else set()
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
