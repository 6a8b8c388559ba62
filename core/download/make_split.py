"""A split made by CoOp's rules from a seed, for a dataset whose published split is not at hand."""

import json
import random
from pathlib import Path

from softprompt.core.base.errors import UserError
from softprompt.core.base.log import logger
from softprompt.core.data.dataset import SPLITS, read_lines
from softprompt.core.data.pictures import list_folders, list_pictures
from softprompt.core.data.sources import Entry
from softprompt.core.data.splits import SplitFileDataset
from softprompt.core.download.disk import publish, writing_to
from softprompt.core.download.fetch import fetch
from softprompt.core.download.place import WORK

SEED = 1
NOTE = "made by tools/download.py --make-split with random.Random({}); not CoOp's published split"

Row = tuple[str, int, str]  # path, label, class name


def make_split(name: str, entry: Entry, root: Path, cls: type[SplitFileDataset]) -> None:
    """Write a split file; runs recognize that it is not the published one and say so.

    Raises:
        UserError: there is no rule for this dataset, or its lists are not to be had.
    """
    folder = root / entry.folder
    generator = random.Random(SEED)
    if entry.lists is None:
        tables = by_folder(folder / cls.images, generator)
    else:
        _fetch_lists(entry, folder)
        tables = by_lists(folder, generator)
    partial, file = folder / WORK / cls.split_file, folder / cls.split_file
    with writing_to(file):
        content = {"note": NOTE.format(SEED), **tables}
        partial.write_text(json.dumps(content, indent=4), encoding="utf-8")
        publish(partial, file)
    logger.warning(f"{name}: {file} was {NOTE.format(SEED)}; numbers differ from published ones")


def by_folder(images: Path, generator: random.Random) -> dict[str, list[Row]]:
    """CoOp's rule for datasets without official splits: 50/20/30 percent of each class folder."""
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
    """CoOp's rule for SUN397: its first official partition, of whose training part 20% are val."""
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
    """Read lines such as /i/ice_rink/indoor/sun_x.jpg, of the class "indoor ice_rink"."""
    rows = []
    for line in read_lines(file):
        scene = line.rpartition("/")[0]
        if scene not in labels:
            raise UserError(f"{file}: the line {line!r} is no picture of a class in ClassName.txt")
        classname = " ".join(reversed(scene.strip("/").split("/")[1:]))
        rows.append((line.removeprefix("/"), labels[scene], classname))
    return rows


LISTS = ("ClassName.txt", "Training_01.txt", "Testing_01.txt")


def _fetch_lists(entry: Entry, folder: Path) -> None:
    from softprompt.core.download.archive import unpack

    if all((folder / name).is_file() for name in LISTS):
        return
    archive, tree = folder / WORK / entry.lists.name, folder / WORK / "lists"
    fetch(entry.lists.url, archive, entry.lists.sha256)
    unpack(archive, tree)
    for name in LISTS:
        found = next(tree.rglob(name), None)
        if found is None:
            raise UserError(f"{entry.lists.url} has no {name} in it")
        publish(found, folder / name)
