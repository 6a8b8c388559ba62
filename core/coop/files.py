"""Find the checkpoint in the folder of an official run, and the class names of its dataset."""

import re
from pathlib import Path

from softprompt.core.base.errors import UserError
from softprompt.core.base.registry import DATASETS
from softprompt.core.data.fewshot import class_subset
from softprompt.core.data.splits import PUBLISHED, SplitFileDataset, read_bytes, read_split

UNNUMBERED = ("model-best.pth.tar", "model.pth.tar")


def find_checkpoint(given: Path, epoch: int = 0) -> Path:
    """Return the checkpoint file: ``given``, or one in the folder of an official run.

    Args:
        epoch: its number; 0: the last one, or else ``model-best.pth.tar``, or ``model.pth.tar``.

    Raises:
        UserError: there is none, or more than one of that epoch.
    """
    if given.is_file():
        return given
    if not given.is_dir():
        raise UserError(f"no such checkpoint: {given}")
    files = [*given.glob("model*.pth.tar*"), *given.glob("*/model*.pth.tar*")]
    numbered: dict[int, list[Path]] = {}
    for file in files:
        number = re.fullmatch(r"model\.pth\.tar-(\d+)", file.name)
        if number:
            numbered.setdefault(int(number[1]), []).append(file)
    unnumbered = ([file for file in files if file.name == name] for name in UNNUMBERED)
    other = [] if epoch else next(filter(None, unnumbered), [])
    chosen = numbered.get(epoch or max(numbered, default=0), other)
    if len(chosen) == 1:
        return chosen[0]
    if chosen:
        names = " and ".join(str(file.relative_to(given)) for file in sorted(chosen))
        raise UserError(f"{given} holds {names}; give one of the files")
    epochs = ", ".join(map(str, sorted(numbered))) or "none"
    file = f"model.pth.tar-{epoch}" if epoch else "model.pth.tar-N or model.pth.tar"
    raise UserError(
        f"{given} holds no {file}, directly or in a folder such as "
        f"prompt_learner/ or VLPromptLearner/; epochs that are there: {epochs}"
    )


def classnames_of(dataset: str, root: str, subset: str) -> tuple[str, ...]:
    """Return the names of all, base or new classes of a dataset, () if they are unknown.

    Args:
        dataset: our name of it.
        subset: all, base or new.
        root: the folder that holds all datasets; "": use the package's lists if there are any.

    Raises:
        UserError: there is no such dataset, or it is not in ``root``.
    """
    cls = DATASETS[dataset]
    names = () if root else _published(cls)
    if not names:
        try:
            names = cls(Path(root).expanduser()).classnames
        except UserError:
            if root:
                raise
    return tuple(names[label] for label in class_subset(len(names), subset))


def trained_subset(dataset: str, root: str, count: int | None, tested: str) -> str:
    """Return the class set with as many classes as a checkpoint, of which another may be tested.

    Args:
        dataset, root: as for ``classnames_of``.
        count: the checkpoint's classes; None: unknown.
        tested: the class set to test; its own, or its half's, where ``count`` tells nothing.

    Returns:
        "all", "base" or "new"; "" if none has so many, so it was trained on another dataset.
    """
    sizes = {name: len(classnames_of(dataset, root, name)) for name in ("base", "all", "new")}
    if count is None or not sizes["all"]:
        return "base" if tested == "new" else tested
    return next((name for name, size in sizes.items() if size == count), "")


def _published(cls: type) -> tuple[str, ...]:
    if issubclass(cls, SplitFileDataset) and (PUBLISHED / f"{cls.split_file}.gz").is_file():
        return read_split(PUBLISHED / f"{cls.split_file}.gz")[0]
    if cls is DATASETS["imagenet"]:
        lines = read_bytes(PUBLISHED / "imagenet_classnames.txt.gz").decode().splitlines()
        return tuple(line.partition(" ")[2] for line in sorted(lines))
    return ()
