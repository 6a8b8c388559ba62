"""What a dataset is: class names, and a list of pictures a split."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from softprompt.core.errors import UserError


class Item(NamedTuple):
    path: str  # relative to the dataset's image folder, forward slashes
    label: int


class Dataset:
    """Base class of datasets: a subclass sets ``classnames`` and ``image_dir`` and lists items.

    ``templates`` maps a preset ("coop", "kgcoop", "prograd") to the sentence that its paper uses
    for this dataset; ``note`` is what readers of the results must know of the split.
    """

    templates: dict[str, str] = {}
    note: str = ""

    classnames: tuple[str, ...]
    image_dir: Path

    def __init__(self, root: str | Path):
        self.root = Path(root).expanduser()

    def splits(self) -> dict[str, list[Item]]:
        """Return the items of "train", "val" and "test", each in its published order."""
        raise TypeError(f"{type(self).__name__} does not define splits()")

    def reader(self) -> Callable[[str], Image.Image]:
        """Return what reads the picture of ``Item.path``; it must survive pickling."""
        return FileReader(str(self.image_dir))


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
        try:
            with Image.open(file) as image:
                return image.convert("RGB")
        except FileNotFoundError:
            raise UserError(f"no such picture: {file}") from None
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise UserError(f"the picture {file} cannot be decoded: {error}") from None


def check_files(image_dir: Path, splits: dict[str, list[Item]], named_by: str) -> None:
    """Raise ``UserError`` naming the first picture that a split lists and the disk lacks."""
    present: dict[Path, set[str]] = {}
    for items in splits.values():
        for item in items:
            file = image_dir / item.path
            if file.parent not in present:
                folder = file.parent
                present[folder] = (
                    {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
                )
            if file.name not in present[file.parent]:
                raise UserError(f"{named_by} names {file}, which does not exist")
