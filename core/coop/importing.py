"""Translate an official run: recognize its method, configure ours, read its prompts."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import Tensor
from yacs.config import CfgNode

from softprompt.core.base.errors import UserError
from softprompt.core.coop.config import is_of_method, our_dataset, our_keys
from softprompt.core.coop.defaults import UNSAID, UNSAID_BY
from softprompt.core.coop.files import classnames_of
from softprompt.core.coop.outline import other_shape, outline
from softprompt.core.coop.pickles import Stored
from softprompt.core.coop.settings import from_keys, method_named
from softprompt.core.coop.tensors import fits, methods_of, values_held
from softprompt.core.data.dataset import read_lines
from softprompt.core.prompts.base import PromptLearner

SHARED_NODES = ("COOP",)  # used by several methods, so they identify none
SUBSETS = ("all", "base", "new")


def choose_method(
    trainer: str, tensors: Iterable[str], keys: dict[str, Any], places: list[Path]
) -> tuple[str, str]:
    """Return the official method and, unless its name is given, how it was recognized.

    Args:
        trainer: its name, or "".
        tensors: official names of the checkpoint's tensors; empty if there is none.
        keys: official key to value.
        places: the checkpoint and the YAML file, whose folders are often named after the method.

    Raises:
        UserError: the method is unknown, not clear, or not that of the tensors.
    """
    found = methods_of(names) if (names := list(tensors)) else ()
    if trainer:
        method = method_named(trainer)
        if found and not fits(method, found):
            raise UserError(
                f"{places[0]} holds the prompts of {' or '.join(found)}, not those of {method}"
            )
        return method, ""
    if len(found) == 1:
        return found[0], "as its tensors tell"
    nodes = [key.split(".")[1] for key in keys if key.startswith("TRAINER.")]
    hints = [node for node in nodes if node not in SHARED_NODES]
    hints += [part for place in places for part in reversed(place.absolute().parts[:-1])]
    for hint in (str(keys.get("LOSS.NAME", "")), *hints):
        try:
            method = method_named(hint)
        except UserError:
            continue
        if not found or fits(method, found):
            return method, f"as {hint!r} tells"
    what = f"{places[0]} holds the prompts of {' or '.join(found)}" if found else "no method given"
    raise UserError(f"{what}; say which with --trainer")


def configuration(
    method: str,
    keys: dict[str, Any],
    from_yaml: bool,
    tensors: dict[str, Stored],
    epoch: int | None,
) -> tuple[dict[str, Any], list[str]]:
    """Return our configuration by dotted key, and a line for each official key left out.

    Args:
        keys: all official keys with their values.
        from_yaml: the keys come from the method's YAML file, so a key that it lacks has Dassl's
            default instead of the official YAML file's.
        tensors: of the checkpoint, by our name.
        epoch: of the checkpoint.

    Raises:
        UserError: the backbone is unknown, or the keys together have no counterpart.
    """
    if not keys.get("MODEL.BACKBONE.NAME"):
        raise UserError(
            "MODEL.BACKBONE.NAME is not set; the official YAML has it, so give --config-file, or "
            "give --backbone, such as ViT-B/16"
        )
    unsaid = UNSAID | UNSAID_BY.get(method, {}) if from_yaml else {}
    held: dict[str, Any] = {}
    if tensors:
        held = values_held(method, {name: value.shape for name, value in tensors.items()})
        held |= {"MAX_EPOCH": epoch} if epoch and not from_yaml else {}
    clip = outline(keys["MODEL.BACKBONE.NAME"])
    setting, lines = from_keys(
        method,
        {key: value for key, value in keys.items() if is_of_method(key)},
        our_dataset(str(keys.get("DATASET.NAME", ""))),
        unsaid={key: value for key, value in unsaid.items() if is_of_method(key)},
        held=held,
        text_layers=clip.text_depth,
        image_layers=clip.image_depth,
    )
    ours, others = our_keys(setting, unsaid | keys)
    return ours, lines + others


def check_backbone(name: str, tensors: dict[str, Stored], file: Path) -> None:
    """Raise ``UserError`` if the CLIP in a checkpoint has another architecture."""
    wrong = other_shape(outline(name), {key: value.shape for key, value in tensors.items()})
    if wrong:
        raise UserError(
            f"{file} holds {wrong[0]} of shape {wrong[1]}, but {name} has {wrong[2]}; "
            "MODEL.BACKBONE.NAME must be the backbone it was trained with"
        )


def read_prompts(
    tensors: dict[str, Stored], names: dict[str, str], learner: PromptLearner, file: Path
) -> dict[str, Tensor]:
    """Return the prompts of a checkpoint by our names, in fp32.

    Args:
        tensors: of the checkpoint, by official name.
        names: our name of each trained tensor to the official one.
        learner: one with the settings of the checkpoint, for the shapes.

    Raises:
        UserError: a tensor is missing, left over or of another shape, or cannot be read.
    """
    own = {name: tuple(value.shape) for name, value in learner.named_parameters()}
    for name in sorted(own.keys() | names.keys()):
        held = tensors[names[name]].shape if name in names else "none"
        if held != own.get(name):
            raise UserError(
                f"{file} holds {names.get(name, f'for our {name}')} of shape {held}, but with the "
                f"given settings it would be {own.get(name, 'none')}; leave lengths, depths, CSC "
                "and CTX_INIT out and its own are taken, or name its backbone"
            )
    return {name: tensors[names[name]].read() for name in sorted(names)}


def class_count(shapes: dict[str, tuple[int, ...]]) -> int | None:
    """Return the number of classes that a checkpoint was trained on, None if it does not tell.

    Args:
        shapes: of its tensors by official name.
    """
    context = shapes.get("ctx", ())
    prefix = shapes.get("token_prefix", shapes.get("prompt_learner.token_prefix"))
    return context[0] if len(context) == 3 else prefix[0] if prefix else None


def names_of_classes(
    cfg: CfgNode,
    shapes: dict[str, tuple[int, ...]],
    file: str,
    root: str,
    *,
    elsewhere: bool = False,
) -> tuple[str, ...]:
    """Return the class names of an official run, () if they are unknown and not needed.

    Args:
        shapes: of the checkpoint's tensors by official name.
        file: a list of the names, one per line, or "".
        root: the folder that holds all datasets, or "".
        elsewhere: it was trained on another dataset than the configuration's.

    Raises:
        UserError: their number is not the checkpoint's, or they are unknown and the context is
            class-specific.
    """
    subset, dataset = cfg.DATASET.SUBSAMPLE_CLASSES, cfg.DATASET.NAME
    count, class_specific = class_count(shapes), len(shapes.get("ctx", ())) == 3
    if file:
        names = tuple(read_lines(Path(file).expanduser()))
    else:
        names = () if elsewhere else classnames_of(dataset, root, subset)
    if not names and class_specific:
        raise UserError(
            f"the context is class-specific, for {count} classes whose names are not known; give "
            "--root DATA, the folder of the dataset it was trained on, or --classnames FILE"
        )
    if names and count not in (None, len(names)):
        source = f"{file} lists {len(names)}"
        if not file:
            sizes = {each: len(classnames_of(dataset, root, each)) for each in SUBSETS}
            others = ", ".join(f"{each} {size}" for each, size in sizes.items())
            source = f"{dataset} has {len(names)} in DATASET.SUBSAMPLE_CLASSES {subset} ({others})"
        raise UserError(f"the checkpoint was trained on {count} classes, but {source}")
    return names
