"""A folder of your own pictures, used without code or a split file."""

import hashlib
import os
from pathlib import Path
from unicodedata import normalize

from softprompt.core import DATASETS, Dataset, Item, UserError
from softprompt.core.base.log import logger
from softprompt.core.data.dataset import SPLITS, Splits
from softprompt.core.data.layout import below_root
from softprompt.core.data.pictures import SUFFIXES, is_picture, list_folders, walk

SHARES = {"val": 20, "test": 30}  # percent of each class; the rest is train


@DATASETS.register("folder")
class Folder(Dataset):
    """Pictures in ``PATH/{train,val,test}/<class>/``, or in ``PATH/<class>/`` and split here.

    Folder names are the class names; folders inside a class folder belong to it. Without split
    folders the pictures of each class are divided into train, val and test (50, 20 and 30 percent),
    in the order of a hash of their paths below PATH; so no class falls short, and other classes
    change nothing. A class of two has one to train on and one to test on, and from three on there
    is one in each part. A split folder may be missing until used.
    """

    def __init__(self, root: str | Path, *, path: str = ""):
        """List the pictures.

        Args:
            path: the folder, relative to DATASET.ROOT unless absolute.
        """
        super().__init__(root)
        self.image_dir = self._existing(path)
        self._ignored: list[Path] = []
        named = [split for split in SPLITS if (self.image_dir / split).is_dir()]
        beside = [name for name in list_folders(self.image_dir) if name not in SPLITS]
        # PATH/{bus,car,train}/*.jpg are three classes, not a split
        nested = any(list_folders(self.image_dir / split) for split in named)
        if named and (nested or not beside):
            self._ignored += [self.image_dir / name for name in beside] + _files(self.image_dir)
            found = {split: self._classes(self.image_dir / split) for split in named}
        else:
            self.note = (
                "non-standard split: 50/20/30 of each class, by a hash of each picture's path"
            )
            found = _divide(self._classes(self.image_dir))
        self.classnames = tuple(sorted({name for classes in found.values() for name in classes}))
        first, *others = self.classnames
        if not others:
            raise UserError(
                f"{self.image_dir} has one class, {first!r}, but at least two are "
                "needed: one folder for each class, its pictures in it"
            )
        self._splits = {
            split: [
                Item(file, label)
                for label, name in enumerate(self.classnames)
                for file in found.get(split, {}).get(name, [])
            ]
            for split in SPLITS
        }
        if self._ignored:
            logger.info(
                f"ignored in {self.image_dir}: {len(self._ignored)} files or folders of no "
                f"class, such as {str(self._ignored[0].relative_to(self.image_dir))!r}"
            )

    def splits(self) -> Splits:
        return self._splits

    def _existing(self, path: str) -> Path:
        if not path:
            raise UserError("DATASET.FOLDER.PATH is not set; it names the folder of pictures")
        return below_root(self.root, path, "DATASET.FOLDER.PATH", folder=True)

    def _classes(self, folder: Path) -> dict[str, list[str]]:
        """Return the pictures of each class, as sorted paths below PATH."""
        places = [folder / name for name in list_folders(folder)]
        stray = _files(folder)
        if not places:
            pictures = any(is_picture(file.name) for file in stray)
            wrong = "holds the pictures themselves" if pictures else "has no folders"
            raise UserError(
                f"{folder} {wrong}, but needs a folder for each class, {folder}/<class>/"
            )
        self._ignored += stray
        listed = {place: self._pictures(place) for place in places}
        deepest = [file for files in listed.values() for file in files]
        if deepest and not any(file.parent in listed for file in deepest):
            raise UserError(
                f"the folders in {folder} hold no pictures, but folders of them, such as "
                f"{deepest[0].parent}; DATASET.FOLDER.PATH must be the folder above the class "
                "folders, or above train/, val/ and test/"
            )
        classes: dict[str, list[str]] = {}
        for place, files in listed.items():
            if not files:
                suffixes = ", ".join(sorted(SUFFIXES))
                raise UserError(f"the class folder {place} holds no picture ({suffixes})")
            paths = [file.relative_to(self.image_dir).as_posix() for file in files]
            classes.setdefault(normalize("NFC", place.name), []).extend(paths)
        return {name: sorted(paths, key=_unified) for name, paths in classes.items()}

    def _pictures(self, place: Path) -> list[Path]:
        """Return the pictures in and below a class folder.

        Linked folders below it are ignored, and so is what is no regular file, such as a pipe.
        """
        pictures = []
        for here, folders, names in walk(place):
            self._ignored += [here / name for name in folders if (here / name).is_symlink()]
            folders[:] = list_folders(here)
            for name in names:
                file = here / name
                if not is_picture(name):
                    self._ignored += [] if name.startswith(".") else [file]
                    continue
                if not file.exists():
                    raise UserError(
                        f"{file} is a link to {os.readlink(file)}, which does not exist"
                    )
                if not file.is_file():
                    self._ignored.append(file)
                    continue
                try:
                    str(file).encode()
                except UnicodeEncodeError:
                    raise UserError(f"the name of {str(file)!r} is not UTF-8") from None
                pictures.append(file)
        return pictures


def _files(folder: Path) -> list[Path]:
    return [f for f in folder.iterdir() if f.is_file() and not f.name.startswith(".")]


def _unified(path: str) -> str:
    """Return a path as every system spells it: macOS stores an accent apart from its letter."""
    return normalize("NFC", path)


def _divide(classes: dict[str, list[str]]) -> dict[str, dict[str, list[str]]]:
    """Assign each class's paths to the splits; return the paths of each split by class.

    Raises:
        UserError: a class has a single picture.
    """
    found: dict[str, dict[str, list[str]]] = {split: {} for split in SPLITS}
    for name, paths in classes.items():
        if len(paths) < 2:
            raise UserError(
                f"the class {name!r} has one picture, {paths[0]}, but needs at least two: one to "
                "train on and one to test on"
            )
        order = sorted(paths, key=lambda path: hashlib.sha256(_unified(path).encode()).digest())
        sizes = {split: _share(len(paths), percent) for split, percent in SHARES.items()}
        sizes["val"] *= len(paths) > 2
        first, last = len(paths) - sum(sizes.values()), len(paths) - sizes["test"]
        parts = zip(SPLITS, (order[:first], order[first:last], order[last:]), strict=True)
        for split, part in parts:
            if part:
                found[split][name] = sorted(part, key=_unified)
    return found


def _share(count: int, percent: int) -> int:
    """Return so many percent, a half rounded down, but at least 1."""
    return max(1, (count * percent + 49) // 100)
