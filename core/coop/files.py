"""What stands beside an official checkpoint: its file in a run's folder, and its class names."""

import re
from pathlib import Path

from softprompt.core.base.errors import UserError
from softprompt.core.base.registry import DATASETS
from softprompt.core.data.fewshot import class_subset
from softprompt.core.data.splits import PUBLISHED, SplitFileDataset, read_bytes, read_split


def find_checkpoint(given: Path, epoch: int = 0) -> Path:
    """Return the checkpoint file: ``given``, or one in the folder of an official run.

    Args:
        epoch: its number; 0: the last one, or else ``model-best.pth.tar``.

    Raises:
        UserError: there is none, or more than one of that epoch.
    """
    if given.is_file():
        return given
    if not given.is_dir():
        raise UserError(f"no such checkpoint: {given}")
    there = [*given.glob("model*.pth.tar*"), *given.glob("*/model*.pth.tar*")]
    numbered: dict[int, list[Path]] = {}
    for file in there:
        number = re.fullmatch(r"model\.pth\.tar-(\d+)", file.name)
        if number:
            numbered.setdefault(int(number[1]), []).append(file)
    best = [file for file in there if file.name == "model-best.pth.tar"]
    found = numbered.get(epoch or max(numbered, default=0), [] if epoch else best)
    if len(found) == 1:
        return found[0]
    if found:
        names = " and ".join(str(file.relative_to(given)) for file in sorted(found))
        raise UserError(f"{given} holds {names}; give one of the files")
    epochs = ", ".join(map(str, sorted(numbered))) or "none"
    raise UserError(
        f"{given} holds no model.pth.tar-{epoch or 'N'}, directly or in a folder such as "
        f"prompt_learner/ or VLPromptLearner/; epochs that are there: {epochs}"
    )


def classnames_of(dataset: str, root: str, subset: str) -> tuple[str, ...]:
    """Return the names of all, base or new classes of a dataset, () where they are not to be had.

    Args:
        dataset: our name of it.
        root: the folder that holds all datasets; "": the lists that come with the package will do.

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


def _published(cls: type) -> tuple[str, ...]:
    if issubclass(cls, SplitFileDataset) and (PUBLISHED / f"{cls.split_file}.gz").is_file():
        return read_split(PUBLISHED / f"{cls.split_file}.gz")[0]
    if cls is DATASETS["imagenet"]:
        lines = read_bytes(PUBLISHED / "imagenet_classnames.txt.gz").decode().splitlines()
        return tuple(line.partition(" ")[2] for line in sorted(lines))
    return ()
