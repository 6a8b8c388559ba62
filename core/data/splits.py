"""CoOp's split files: ``{"train": [[path, label, class name], ...], "val": ..., "test": ...}``."""

import gzip
import json
import zlib
from itertools import chain
from pathlib import Path
from typing import Any

from softprompt.core.base.errors import UserError
from softprompt.core.base.escape import one_line
from softprompt.core.base.files import ASSETS
from softprompt.core.base.log import logger
from softprompt.core.data.dataset import SPLITS, Dataset, Item, Splits, check_files, check_inside
from softprompt.core.data.fewshot import draw_shots, list_sha256

PUBLISHED = ASSETS / "splits"  # CoOp's own files, gzip-compressed


def read_split(file: Path) -> tuple[tuple[str, ...], Splits]:
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


def _checked(row: list) -> tuple[str, int, str]:
    path, label, name = row
    if not (isinstance(path, str) and type(label) is int and isinstance(name, str)):
        raise TypeError(f"the entry {row!r}")
    return path, label, name


def list_draw(file: Path, shots: int, seed: int, fingerprints: bool = False) -> str:
    """Return the train and val lists of a few-shot draw from a split file, as text.

    Each line is ``path<TAB>label<TAB>class name``, below a heading with the number of lines.

    Args:
        fingerprints: instead return, as JSON, the number of lines of both lists and their sha256.

    Raises:
        UserError: it is no split file.
    """
    classnames, splits = read_split(file)
    drawn = draw_shots(splits, shots, seed)
    lists = {split: drawn[split] for split in ("train", "val")}
    if fingerprints:
        entry: dict[str, Any] = {"n": [len(items) for items in lists.values()]}
        entry |= {split: list_sha256(items, classnames) for split, items in lists.items()}
        return json.dumps({f"shot_{shots}-seed_{seed}": entry}, indent=1)
    lines = []
    for split, items in lists.items():
        lines.append(f"# {split}: {len(items)}")
        for item in items:
            path, name = one_line(item.path), one_line(classnames[item.label])
            lines.append(f"{path}\t{item.label}\t{name}")
    return "\n".join(lines)


class SplitFileDataset(Dataset):
    """Base class of the datasets whose classes and splits are in one of CoOp's split files.

    ``ROOT/folder/split_file`` lists pictures below ``ROOT/folder/images``. If it is missing, the
    package's copy of the published file is used; if it differs from that, ``note`` says so.

    Attributes:
        folder, images, split_file: the names in these paths.
        drive_id: for a file that the package lacks, its id on the Google Drive of CoOp's authors.
        drawn_sha256: for such a file, hashes of the published 16-shot lists (train, val) of seed 1.
    """

    images: str
    split_file: str
    drive_id: str = ""
    drawn_sha256: tuple[str, ...] = ()

    def __init__(self, root: str | Path):
        super().__init__(root)
        self.image_dir = self.folder_of(self.folder, self.images)
        self.split_path = self._find_split()
        self.classnames, self._splits = read_split(self.split_path)
        listed = (item.path for item in chain(*self._splits.values()))
        check_inside(self.image_dir, listed, self.split_path)
        if not self._is_published():
            self.note = f"non-standard split: {self.split_path} is not the one CoOp published"

    @classmethod
    def known_classnames(cls) -> tuple[str, ...]:
        published = PUBLISHED / f"{cls.split_file}.gz"
        return read_split(published)[0] if published.is_file() else ()

    def splits(self) -> Splits:
        check_files(self.image_dir, chain(*self._splits.values()), self.split_path)
        return self._splits

    def listed(self) -> Splits:
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
            # With other line ends, say, it is still the same split.
            return read_bytes(self.split_path) == read_bytes(published) or (
                (self.classnames, self._splits) == read_split(published)
            )
        if self.drawn_sha256:
            drawn = draw_shots(self._splits, shots=16, seed=1)
            found = (list_sha256(drawn[split], self.classnames) for split in ("train", "val"))
            return tuple(found) == self.drawn_sha256
        return True
