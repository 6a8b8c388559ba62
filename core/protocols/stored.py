"""The results of a run as reports read them: of the right shape, or refused with the reason."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from softprompt.core.base.errors import UserError
from softprompt.core.engine import results
from softprompt.core.engine.results import ZERO_SHOT

LARGEST = 1e18  # of a count or of seconds


class Field(NamedTuple):
    """A key of ``results.json`` besides the scores."""

    default: Any  # of results that were written before there was the key
    holds: Callable[[Any], bool]
    kind: str


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any, most: float = LARGEST) -> bool:
    """Whether a value is a number from 0 to ``most``; NaN is none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= most


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST


def _maps_to(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(map(holds, value.values()))


def _or_none(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or holds(value)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, dict)


def _are_lines(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


FIELDS = {
    "warnings": Field([], _are_lines, "a list of texts"),
    "split": Field({"note": ""}, lambda it: _is_mapping(it) and _is_text(it.get("note")), "a note"),
    "sampled": Field({}, _maps_to(_is_text), "texts by class set"),
    "config": Field({}, _is_mapping, "a mapping"),
    "backbone": Field({}, _maps_to(_or_none(_is_text)), "texts"),
    "environment": Field({}, _is_mapping, "a mapping"),
    "seconds": Field({}, _maps_to(_is_number), "seconds"),
    "processor_seconds": Field({}, _maps_to(_is_number), "seconds"),
    "peak_memory": Field({}, _or_none(_maps_to(_or_none(_is_number))), "bytes"),
    "trained_parameters": Field(None, _or_none(_is_count), "a number"),
    "threads": Field(None, _or_none(_is_count), "a number"),
    "finished": Field("", _is_text, "a date"),
    "prompt": Field("", _is_text, "a name"),
    "dataset": Field("", _is_text, "a name"),
    "shots": Field(None, _or_none(_is_count), "a number"),
    "seed": Field(None, _or_none(_is_count), "a number"),
}


def read_run(folder: Path) -> dict[str, Any] | None:
    """Return the results of a run with every key of ``FIELDS``, None before it has finished.

    Raises:
        UserError: the file is damaged; the message names it and what is wrong.
    """
    file = folder / results.FILE
    found = results.read(folder)
    if found is None:
        return None
    wrong = _wrong(found)
    if wrong:
        raise UserError(f"{file} is damaged: {wrong}")
    return {key: field.default for key, field in FIELDS.items()} | found


def damage_of(folder: Path) -> str:
    """Return why a run's results file is left out of tables, "" if it is sound or not there."""
    try:
        read_run(folder)
    except UserError as error:
        return str(error)
    return ""


def is_meta_training(folder: Path) -> bool:
    """Whether a folder's results are of a meta-training, which scores no class set."""
    try:
        found = results.read(folder) or {}
    except UserError:
        return False
    return "validations" in found and "results" not in found


def seconds_of(folder: Path) -> float | None:
    """Return the seconds that a run of any kind took, None if it does not say or has not ended."""
    try:
        seconds = (results.read(folder) or {}).get("seconds")
    except UserError:
        return None
    if isinstance(seconds, dict) and FIELDS["seconds"].holds(seconds):
        return sum(seconds.values())
    return None


def trained_name(found: dict[str, Any]) -> str:
    """Return the name of the one model beside zero-shot CLIP."""
    return next(name for name in found["results"] if name != ZERO_SHOT)


def _wrong(found: dict[str, Any]) -> str:
    """Return what is wrong with results whose shape ``results.read`` has checked, "" if nothing."""
    models = found.get("results")
    if models is None:
        return "it has no results"
    trained = [name for name in models if name != ZERO_SHOT]
    if len(trained) != 1:
        named = f" ({', '.join(map(repr, trained[:3]))})" if trained else ""
        return f"results are of {len(trained)} models{named} beside {ZERO_SHOT}, not of one"
    for model, by_set in models.items():
        for subset, scores in by_set.items():
            wrong = _wrong_score(scores)
            if wrong:
                return f"the results of {model!r} on {subset!r}: {wrong}"
    for key, field in FIELDS.items():
        if key in found and not field.holds(found[key]):
            return f"{key} is not {field.kind}"
    return ""


def _wrong_score(scores: dict[str, Any]) -> str:
    if not _is_number(scores["accuracy"], 100):
        return f"accuracy is {_shown(scores['accuracy'])}, not a percentage"
    for half in ("base", "new"):  # of the generalized setting
        if half not in scores:
            continue
        part = scores[half]
        if not isinstance(part, dict) or "accuracy" not in part:
            return f"{half} has no accuracy"
        if part["accuracy"] is not None and not _is_number(part["accuracy"], 100):
            return f"the accuracy on {half} is {_shown(part['accuracy'])}, not a percentage"
    return ""


def _shown(value: Any) -> str:
    return repr(value)[:40]
