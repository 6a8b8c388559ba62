"""Make a split by CoOp's rules from a seed, for a dataset whose published split is missing."""

import json
import random
from pathlib import Path

from softprompt.core.base.errors import UserError
from softprompt.core.base.files import publish, write_atomically, writing_to
from softprompt.core.base.log import logger
from softprompt.core.data.dataset import SPLITS, read_lines
from softprompt.core.data.pictures import list_folders, list_pictures
from softprompt.core.data.sources import Entry, File
from softprompt.core.data.splits import SplitFileDataset
from softprompt.core.download.fetch import fetch
from softprompt.core.download.place import WORK

SEED = 1
NOTE = "made by tools/download.py --make-split with random.Random({}); not CoOp's published split"

Row = tuple[str, int, str]  # path, label, class name


def make_split(name: str, entry: Entry, root: Path, cls: type[SplitFileDataset]) -> None:
    """Write a split file; runs recognize that it is not the published one and report it.

    Raises:
        UserError: the dataset's lists cannot be downloaded.
    """
    folder = root / entry.folder
    generator = random.Random(SEED)
    if entry.lists is None:
        tables = by_folder(folder / cls.images, generator)
    else:
        _fetch_lists(entry.lists, folder)
        tables = by_lists(folder, generator)
    file = folder / cls.split_file
    with writing_to(file):
        content = {"note": NOTE.format(SEED), **tables}
        write_atomically(file, json.dumps(content, indent=4))
    logger.warning(f"{name}: {file} was {NOTE.format(SEED)}; numbers differ from published ones")


def by_folder(images: Path, generator: random.Random) -> dict[str, list[Row]]:
    """Split each class folder 50/20/30 percent, as CoOp does without an official split."""
    tables: dict[str, list[Row]] = {split: [] for split in SPLITS}
    for label, classname in enumerate(list_folders(images)):
        names = list_pictures(images / classname)
        generator.shuffle(names)
        first, second = round(0.5 * len(names)), round(0.2 * len(names))
        shares = (names[:first], names[first : first + second], names[first + second :])
        for split, share in zip(SPLITS, shares, strict=True):
            tables[split] += [(f"{classname}/{picture}", label, classname) for picture in share]
    return tables


def by_lists(folder: Path, generator: random.Random) -> dict[str, list[Row]]:
    """Use SUN397's first official partition, with 20% of its training part as val, as CoOp does."""
    labels = {line: label for label, line in enumerate(read_lines(folder / "ClassName.txt"))}
    training = _listed(folder / "Training_01.txt", labels)
    by_label: dict[int, list[Row]] = {}
    for row in training:
        by_label.setdefault(row[1], []).append(row)
    tables: dict[str, list[Row]] = {"train": [], "val": []}
    for rows in by_label.values():
        generator.shuffle(rows)
        held_out = round(0.2 * len(rows))
        tables["val"] += rows[:held_out]
        tables["train"] += rows[held_out:]
    return {**tables, "test": _listed(folder / "Testing_01.txt", labels)}


def _listed(file: Path, labels: dict[str, int]) -> list[Row]:
    """Return the rows of lines such as /i/ice_rink/indoor/sun_x.jpg, class "indoor ice_rink"."""
    rows = []
    for line in read_lines(file):
        scene = line.rpartition("/")[0]
        if scene not in labels:
            raise UserError(f"{file}: the line {line!r} is no picture of a class in ClassName.txt")
        classname = " ".join(reversed(scene.strip("/").split("/")[1:]))
        rows.append((line.removeprefix("/"), labels[scene], classname))
    return rows


LISTS = ("ClassName.txt", "Training_01.txt", "Testing_01.txt")


def _fetch_lists(lists: File, folder: Path) -> None:
    from softprompt.core.download.archive import unpack

    if all((folder / name).is_file() for name in LISTS):
        return
    archive, tree = folder / WORK / lists.name, folder / WORK / "lists"
    fetch(lists.url, archive, lists.sha256)
    unpack(archive, tree)
    for name in LISTS:
        file = next(tree.rglob(name), None)
        if file is None:
            raise UserError(f"{lists.url} has no {name} in it")
        publish(file, folder / name)
