"""The base class of ImageNet and its variants: class names by WordNet id, a folder per class."""

from pathlib import Path

from softprompt.core.base.errors import UserError
from softprompt.core.base.log import logger
from softprompt.core.data.dataset import Dataset, Item, Splits, read_lines
from softprompt.core.data.layout import class_folders_below
from softprompt.core.data.pictures import file_names, is_picture, list_folders, list_pictures
from softprompt.core.data.splits import PUBLISHED, read_bytes
from softprompt.core.prompts.templates import PHOTO

NAMES = "classnames.txt"


class ImageNetFolders(Dataset):
    """Base class of ImageNet and its variants; unless overridden, a variant: test pictures only.

    The pictures are ``ROOT/folder/images/<WordNet id>/*``. The classes are the ids found there,
    sorted, so ImageNet-A and -R number their 200 from 0: their classes correspond to ImageNet's by
    name, not by label. ``ROOT/folder/classnames.txt`` names them, or else the package's copy of
    CoOp's file.
    """

    images: str
    class_count: int = 1000
    templates = {"coop": PHOTO}

    def __init__(self, root: str | Path):
        super().__init__(root)
        self.image_dir = self.folder_of(self.folder, self.images)
        self.by_folder = self.name_folders(read_classnames(self.root / self.folder))
        self.classnames = tuple(self.by_folder.values())
        if len(self.classnames) != self.class_count:
            self.note = f"{len(self.classnames)} of {self.class_count} classes are on the disk"

    @classmethod
    def known_classnames(cls) -> tuple[str, ...]:
        # Only the disk shows which of the thousand a smaller variant has.
        names = tuple(_parsed(_packaged(), Path(NAMES)).values())
        return names if len(names) == cls.class_count else ()

    def name_folders(self, names: dict[str, str]) -> dict[str, str]:
        """Return the class name of each folder, in the order of the labels."""
        return {wnid: names[wnid] for wnid in self.wnids(self.image_dir, names)}

    def wnids(self, folder: Path, names: dict[str, str]) -> list[str]:
        """Return the ids with a folder in ``folder``, sorted; files there are skipped.

        Raises:
            UserError: there is no folder, or one that is not named by an id.
        """
        found = list_folders(folder)
        unknown = [name for name in found if name not in names]
        if found and not unknown:
            return found
        deeper = class_folders_below(folder, names)
        if unknown:
            message = f"{folder / unknown[0]} is named by no WordNet id of {NAMES}"
        else:
            message = f"{folder} has no class folders such as {next(iter(names))}/"
        if deeper:
            message += f"; there are some in {deeper}, so move them from there to {folder}"
        elif folder.is_dir() and (pictures := sum(map(is_picture, file_names(folder)))):
            message += (
                f", but {pictures:,} pictures, which were never sorted by class; without that "
                "folder, tools/download.py says which archives of ImageNet it sorts them from"
            )
        raise UserError(message)

    def list_items(self, below: str = ".") -> list[Item]:
        """Return the pictures of every class in ``image_dir/below``.

        They are sorted. CoOp takes them as the file system lists them, so its few-shot draw from
        ImageNet differs between machines; this one does not, and equals none of those.
        """
        items = []
        for label, folder in enumerate(self.by_folder):
            place = Path(below, folder)
            if (self.image_dir / place).is_dir():
                names = list_pictures(self.image_dir / place)
                items += [Item(f"{place.as_posix()}/{name}", label) for name in names]
        return items

    def splits(self) -> Splits:
        return {"train": [], "val": [], "test": self.list_items()}


def read_classnames(folder: Path) -> dict[str, str]:
    """Return ImageNet's class names by WordNet id; missile and sunglasses each name two ids.

    Raises:
        UserError: a line of ``folder/classnames.txt`` is not a new id and a name.
    """
    file = folder / NAMES
    if file.exists():
        lines = read_lines(file)
    else:
        logger.info(f"no {file}, so the package's copy of CoOp's is used")
        lines = _packaged()
    return _parsed(lines, file)


def _packaged() -> list[str]:
    return read_bytes(PUBLISHED / f"imagenet_{NAMES}.gz").decode().splitlines()


def _parsed(lines: list[str], file: Path) -> dict[str, str]:
    names: dict[str, str] = {}
    for line in lines:
        wnid, _, name = line.partition(" ")
        if not name or wnid in names:
            raise UserError(f"{file}: the line {line!r} is not a new WordNet id and a name")
        names[wnid] = name.strip()
    return names
