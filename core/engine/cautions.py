"""Warn of what is legal, but surely unintended: for a run's log and its results."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from yacs.config import CfgNode

from softprompt.core.base.errors import UserError
from softprompt.core.data import names
from softprompt.core.data.dataset import Item
from softprompt.core.engine import results
from softprompt.core.engine.optim import Optim

NAMED = 20  # classes that a warning names
SHOWN = 5  # names that are an example


def of_training(
    items: Sequence[Item], classnames: Sequence[str], shots: int, optim: Optim
) -> list[str]:
    """Return the warnings of a training.

    Args:
        items: the training pictures, labelled from 0 in the order of ``classnames``.
        shots: ``DATASET.NUM_SHOTS``, below 1 for all pictures.
    """
    warnings = []
    counts = Counter(item.label for item in items)
    short = [f"{name!r} {counts[i]}" for i, name in enumerate(classnames) if counts[i] < shots]
    if short:
        more = f" and {len(short) - NAMED} others" if len(short) > NAMED else ""
        warnings.append(
            f"DATASET.NUM_SHOTS is {shots}, but {len(short)} of {len(classnames)} classes have "
            f"fewer training pictures: {', '.join(short[:NAMED])}{more}"
        )
    if optim.warmup_epochs >= optim.epochs:
        warnings.append(
            f"OPTIM.WARMUP_EPOCH is {optim.warmup_epochs} and OPTIM.MAX_EPOCH {optim.epochs}, so "
            f"the whole training has the warm-up's rate, OPTIM.WARMUP_CONS_LR {optim.warmup_lr}"
        )
    elif optim.warmup_epochs and optim.warmup_lr > optim.lr:
        warnings.append(
            f"OPTIM.WARMUP_CONS_LR, the rate of the warm-up, is {optim.warmup_lr:g}, above "
            f"OPTIM.LR {optim.lr:g}"
        )
    return warnings


def of_settings(cfg: CfgNode, count: int) -> list[str]:
    """Return the warnings of settings for a training on ``count`` pictures."""
    warnings = []
    size = cfg.DATALOADER.TRAIN_X.BATCH_SIZE
    if size > count:
        warnings.append(
            f"DATALOADER.TRAIN_X.BATCH_SIZE is {size}, but there are {count} training "
            "pictures, so each epoch is one step with all of them"
        )
    if cfg.TEST.SPLIT == "train":
        warnings.append("TEST.SPLIT is train, so the prompts are tested on what they learn from")
    if "normalize" not in cfg.INPUT.TRANSFORMS:
        warnings.append(
            "INPUT.TRANSFORMS has no normalize, so the backbone sees pictures unlike those that it "
            "was trained on"
        )
    return warnings


def of_names(classnames: Sequence[str]) -> list[str]:
    """Return the warnings of class names that say less to CLIP than to their author."""
    warnings = []
    codes = names.identifiers(classnames)
    # Fewer may be proper names, such as those of aircraft.
    if codes and 2 * len(codes) >= len(classnames):
        warnings.append(
            f"{len(codes)} of {len(classnames)} class names look like identifiers, which mean "
            f"nothing to CLIP: {_shown(codes)}; DATASET.NAMES_FILE gives them names"
        )
    groups = names.alike(classnames)
    if groups:
        examples = [" and ".join(map(repr, group)) for group in groups[:SHOWN]]
        more = f" and {len(groups) - SHOWN} others" if len(groups) > SHOWN else ""
        warnings.append(
            f"class names that are the same to CLIP, so that it cannot tell their classes apart: "
            f"{', '.join(examples)}{more}"
        )
    return warnings


def _shown(classnames: Sequence[str]) -> str:
    more = " ..." if len(classnames) > SHOWN else ""
    return f"{', '.join(map(repr, classnames[:SHOWN]))}{more}"


def of_split(note: str, dataset: str, run: Path) -> list[str]:
    """Return a warning if a run was trained on this dataset, but on another split of it.

    Args:
        note: the dataset's note on its split.
        run: the folder of the evaluated run; without results in it, nothing is known.
    """
    try:
        found = results.read(run) or {}
        trained = found["dataset"], found["split"]["note"]
    except (UserError, LookupError, TypeError):
        return []
    if trained[0] != dataset or trained[1] == note:
        return []
    return [
        f"{run} was trained on another split of {dataset} ({trained[1] or 'the standard one'}), so "
        "pictures that it was trained on may be among those it is evaluated on"
    ]
