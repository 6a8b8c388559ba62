"""Translate an official command line, or the keys of official YAML files, to our setting."""

import ast
import re
from typing import Any

from softprompt.core.base.errors import UserError
from softprompt.core.coop.defaults import DEFAULTS, NODES, PHRASE, SHARED
from softprompt.core.coop.translate import Official, translated
from softprompt.core.coop.values import NoCounterpart, enter, settle_schedule


def from_command_line(
    arguments: list[str], text_layers: int = 12, image_layers: int = 12
) -> Official:
    """Return our setting for an official command line; of a repeated key the last value counts.

    The YAML file that it names is not read: the values of the official files are known here.

    Args:
        text_layers, image_layers: blocks of the towers, beyond which the official code ignores
            a prompt depth.

    Raises:
        UserError: a trainer, key or value has no counterpart here.
    """
    flags, keys = _split(arguments)
    method = method_named(flags.get("trainer", ""))
    values = SHARED | DEFAULTS[method] | _from_file_name(method, flags.get("config-file", ""))
    for key, text in keys.items():
        enter(values, key, literal(text), node_of(method))
    settle_schedule(values)
    dataset = flags.get("dataset-config-file", "").rsplit("/", 1)[-1].removesuffix(".yaml")
    return translated(method, values, dataset, text_layers, image_layers)


def from_keys(
    method: str,
    keys: dict[str, Any],
    dataset: str = "",
    *,
    unsaid: dict[str, Any] | None = None,
    held: dict[str, Any] | None = None,
    text_layers: int = 12,
    image_layers: int = 12,
) -> tuple[Official, list[str]]:
    """Return our setting for official keys and values, and a line for each that has no counterpart.

    Args:
        keys: dotted official key to value; missing keys have the official YAML files' values.
        dataset: our name of the dataset, or "".
        unsaid: values for keys missing in ``keys``, instead of the official YAML files'.
        held: last parts of keys to values found in a checkpoint, which override ``unsaid``.
        text_layers, image_layers: as for ``from_command_line``.

    Raises:
        UserError: the keys together have no counterpart here.
    """
    values = SHARED | DEFAULTS[method]
    lines = _entered(values, {k: v for k, v in (unsaid or {}).items() if k not in keys}, method)
    if held:
        values |= held
        if method == "KgCoOp" and held["N_CTX"] != len(PHRASE.split()):
            values["CTX_INIT"] = False  # with it there would be four
    lines += _entered(values, keys, method)
    try:
        settle_schedule(values)
    except NoCounterpart as error:
        lines.append(str(error))
        values["LR_SCHEDULER"] = SHARED["LR_SCHEDULER"]
    return translated(method, values, dataset, text_layers, image_layers), lines


def _entered(values: dict[str, Any], keys: dict[str, Any], method: str) -> list[str]:
    lines = []
    for key, value in keys.items():
        try:
            enter(values, key, value, node_of(method))
        except NoCounterpart as error:
            lines.append(str(error))
    return lines


def method_named(trainer: str) -> str:
    """Return the official spelling of a trainer's name.

    Raises:
        UserError: it is none of those known here.
    """
    for name in DEFAULTS:
        if name.lower() == trainer.lower():
            return name
    raise UserError(
        f"the official trainer {trainer!r} is not known here; known are {', '.join(DEFAULTS)}"
    )


def node_of(method: str) -> str:
    """Return the node under TRAINER that holds a method's keys."""
    return NODES.get(method, method.upper())


def literal(text: Any) -> Any:
    """Return a value as yacs reads it: parsed if it is a Python literal, else unchanged."""
    try:
        return ast.literal_eval(text) if isinstance(text, str) else text
    except (ValueError, SyntaxError):
        return text


def _split(arguments: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    flags, keys = {}, {}
    rest = iter(arguments)
    for word in rest:
        value = next(rest, None)
        if value is None:
            raise UserError(f"the official command line ends after {word!r}, which needs a value")
        if word.startswith("--"):
            flags[word[2:]] = value
        else:
            keys[word] = value
    return flags, keys


def _from_file_name(method: str, file: str) -> dict[str, Any]:
    """Return the values that an official YAML's name tells and that differ from the default."""
    name = file.rsplit("/", 1)[-1]
    found: dict[str, Any] = {}
    if method == "CoOp" and "ctxv1" in name:
        found["CTX_INIT"] = PHRASE
    if method == "CoCoOp":
        length = re.search(r"_c(\d+)_", name)
        found["N_CTX"] = int(length[1]) if length else 16
        found["CTX_INIT"] = PHRASE if "ctxv1" in name else ""
    if "language_only" in name:
        found |= {"N_CTX_TEXT": 4, "N_CTX_VISION": 0, "PROMPT_DEPTH_VISION": 0, "LR": 0.0025}
    elif method == "IVLP" and "4+4ctx" in name:
        found |= {"N_CTX_TEXT": 4, "N_CTX_VISION": 4, "LR": 0.0025}
        found |= {"PROMPT_DEPTH_TEXT": 9, "PROMPT_DEPTH_VISION": 9}
    if "cross_datasets" in name:
        if method == "MaPLe":
            found |= {"PROMPT_DEPTH": 3, "LR": 0.0026}
        else:
            found |= {"PROMPT_DEPTH_TEXT": 3, "PROMPT_DEPTH_VISION": 3}
            found |= {"GPA_MEAN": 6.0, "GPA_STD": 10.0}
    if method == "PromptSRC" and "few_shot" in name:
        found |= {"GPA_MEAN": 30.0, "GPA_STD": 30.0}
    epochs = re.search(r"_ep(\d+)", name)
    if epochs:
        found["MAX_EPOCH"] = int(epochs[1])
    return found
