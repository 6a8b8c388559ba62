"""A folder of your own pictures: no code, no split file."""

import hashlib
from pathlib import Path

from PIL import Image

from softprompt.core import DATASETS, Dataset, Item, UserError

SPLITS = ("train", "val", "test")
SUFFIXES = frozenset(Image.registered_extensions())
SHARES = (50, 70)  # percent: below 50 train, below 70 val, the rest test


@DATASETS.register("folder")
class Folder(Dataset):
    """Pictures in ``PATH/{train,val,test}/<class>/*``, or in ``PATH/<class>/*``.

    Without split folders each picture goes to train, val or test (50, 20 and 30 percent) by a hash
    of its path below PATH, so adding pictures moves none. Folder names are the class names.
    """

    def __init__(self, root, *, path: str = ""):
        """List the pictures.

        Args:
            path: the folder, relative to DATASET.ROOT unless absolute.
        """
        super().__init__(root)
        if not path:
            raise UserError("DATASET.FOLDER.PATH is not set; it names the folder of pictures")
        self.image_dir = self.root / Path(path).expanduser()
        if not self.image_dir.is_dir():
            raise UserError(f"DATASET.FOLDER.PATH: no such folder {self.image_dir}")
        self.divided = (self.image_dir / "train").is_dir() or (self.image_dir / "test").is_dir()
        if self.divided:
            folders = [self.image_dir / name for name in SPLITS]
        else:
            folders = [self.image_dir]
            self.note = "non-standard split: 50/20/30 by a hash of each picture's path"
        self.classnames = tuple(
            sorted({place.name for folder in folders for place in _folders(folder)})
        )
        if len(self.classnames) < 2:
            raise UserError(
                f"{folders[0]} has {len(self.classnames)} class folders, but at least 2 are "
                "needed: one folder for each class, its pictures in it"
            )

    def splits(self) -> dict[str, list[Item]]:
        if self.divided:
            return {name: self._items(self.image_dir / name) for name in SPLITS}
        splits: dict[str, list[Item]] = {name: [] for name in SPLITS}
        for item in self._items(self.image_dir):
            digest = hashlib.sha256(item.path.encode()).digest()
            percent = int.from_bytes(digest[:4], "big") * 100 >> 32
            splits[SPLITS[sum(percent >= share for share in SHARES)]].append(item)
        return splits

    def _items(self, folder: Path) -> list[Item]:
        items = []
        for place in _folders(folder):
            label = self.classnames.index(place.name)
            for file in sorted(place.rglob("*")):
                if file.suffix.lower() in SUFFIXES and not file.name.startswith("."):
                    items.append(Item(file.relative_to(self.image_dir).as_posix(), label))
        return items


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    places = [place for place in folder.iterdir() if place.is_dir()]
    return sorted(place for place in places if not place.name.startswith("."))
