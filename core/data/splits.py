"""CoOp's split files: ``{"train": [[path, label, class name], ...], "val": ..., "test": ...}``."""

import gzip
import json
import zlib
from itertools import chain
from pathlib import Path

from softprompt.core.base.errors import UserError
from softprompt.core.base.files import ASSETS
from softprompt.core.base.log import logger
from softprompt.core.data.dataset import SPLITS, Dataset, Item, check_files
from softprompt.core.data.fewshot import draw_shots, list_sha256

PUBLISHED = ASSETS / "splits"  # CoOp's own files, gzip-compressed


def read_split(file: Path) -> tuple[tuple[str, ...], dict[str, list[Item]]]:
    """Return the class names by label and the items of each split, in the file's order.

    Raises:
        UserError: the file is missing, not of that form, or gives a label no name or two.
    """
    try:
        tables = json.loads(read_bytes(file))
        rows = {split: [_checked(row) for row in tables[split]] for split in SPLITS}
    except FileNotFoundError:
        raise UserError(f"no split file {file}") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"{file} is no split file of CoOp's form, lists [path, label, class name] under train, "
            f"val and test: {type(error).__name__}: {error}"
        ) from None
    names: dict[int, str] = {}
    for _, label, name in chain(*rows.values()):
        if names.setdefault(label, name) != name:
            raise UserError(f"{file}: label {label} is {names[label]!r} and also {name!r}")
    if not names:
        raise UserError(f"{file} lists no picture")
    if sorted(names) != list(range(len(names))):
        raise UserError(
            f"{file} has {len(names)} classes, so the labels must be 0 to {len(names) - 1}, but "
            f"they lie between {min(names)} and {max(names)}"
        )
    splits = {split: [Item(path, label) for path, label, _ in rows[split]] for split in SPLITS}
    return tuple(names[label] for label in range(len(names))), splits


def read_bytes(file: Path) -> bytes:
    """Return the content of a file, decompressed if its name ends in ``.gz``.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no intact gzip file.
    """
    content = file.read_bytes()
    try:
        return gzip.decompress(content) if file.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(error) from None


def _checked(row) -> tuple[str, int, str]:
    path, label, name = row
    if not (isinstance(path, str) and type(label) is int and isinstance(name, str)):
        raise TypeError(f"the entry {row!r}")
    return path, label, name


class SplitFileDataset(Dataset):
    """Base of the datasets whose classes and splits stand in a file of CoOp's.

    ``ROOT/folder/split_file`` lists pictures below ``ROOT/folder/images``. Where it is missing, the
    published file that comes with the package serves; where it says other things, ``note`` tells.
    """

    folder: str
    images: str
    split_file: str

    # Of a split file that does not come with the package:
    drive_id = ""  # where CoOp's authors keep it on Google Drive
    drawn_sha256: tuple[str, ...] = ()  # of the published 16-shot lists, train and val, of seed 1

    def __init__(self, root):
        super().__init__(root)
        self.image_dir = self.folder_of(self.folder, self.images)
        self.split_path = self._find_split()
        self.classnames, self._splits = read_split(self.split_path)
        if not self._is_published():
            self.note = f"non-standard split: {self.split_path} is not the one CoOp published"

    @classmethod
    def known_classnames(cls) -> tuple[str, ...]:
        published = PUBLISHED / f"{cls.split_file}.gz"
        return read_split(published)[0] if published.is_file() else ()

    def splits(self) -> dict[str, list[Item]]:
        check_files(self.image_dir, chain(*self._splits.values()), self.split_path)
        return self._splits

    def listed(self) -> dict[str, list[Item]]:
        return self._splits

    def _find_split(self) -> Path:
        file = self.root / self.folder / self.split_file
        published = PUBLISHED / f"{self.split_file}.gz"
        if file.exists():
            return file
        if published.is_file():
            logger.info(f"no {file}, so the package's copy of CoOp's split file is used")
            return published
        message = f"no split file {file}, which says what is train, val and test"
        if self.drive_id:
            message += (
                f"; get the one that CoOp published: gdown {self.drive_id} -O {file}, or let "
                f"tools/download.py --make-split make another one"
            )
        raise UserError(message)

    def _is_published(self) -> bool:
        published = PUBLISHED / f"{self.split_file}.gz"
        if published.is_file():
            # A file written anew, say with other line ends, is still the same split.
            return read_bytes(self.split_path) == read_bytes(published) or (
                (self.classnames, self._splits) == read_split(published)
            )
        if self.drawn_sha256:
            drawn = draw_shots(self._splits, shots=16, seed=1)
            found = (list_sha256(drawn[split], self.classnames) for split in ("train", "val"))
            return tuple(found) == self.drawn_sha256
        return True
