"""What may come of any input: sound results, or one line that says what is wrong."""

import json
import re
import unicodedata
from pathlib import Path

from forked import Outcome
from safetensors.torch import load_file

# Characters that change what a terminal shows: controls, and marks that turn the direction.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of change of everything below a folder, but of a run's lock."""
    found = {}
    for path in folder.rglob("*"):
        if ".writer" in path.parts:
            continue
        state = path.lstat()
        if not path.is_dir():
            found[str(path.relative_to(folder))] = state.st_size, state.st_mtime_ns
        elif not any(path.iterdir()):
            found[str(path.relative_to(folder)) + "/"] = 0, 0
    return found


def judge(outcome: Outcome, codes: tuple[int, ...] = (0, 2)) -> None:
    """Check that the command ended as a command may: never in a traceback.

    Args:
        codes: the exit codes that may be; with others than 0, one line says what is wrong.
    """
    said = outcome.out + outcome.err
    assert "Traceback (most recent call last)" not in said, f"a traceback: {outcome}"
    assert outcome.code in codes, f"exit code {outcome.code}: {outcome}"
    bare = said.replace("\r", "") if "it/s" in said else said
    own = re.search(r"error: .*/(core|trainers|datasets|tools)/\S+\.py, line \d+", outcome.err)
    assert not own, f"an error of the product itself: {outcome}"
    control = CONTROL.search(bare)
    assert not control, f"it prints the control character {control[0]!r}: {outcome}"
    if outcome.code in (1, 2) and "left out: " not in outcome.err:  # each in a line
        assert len(error_lines(outcome)) == 1, f"not one line says what is wrong: {outcome}"


def error_lines(outcome: Outcome) -> list[str]:
    """Return the lines that say what is wrong; argparse's begin with the command's name."""
    pattern = rf"(error|{outcome.words[0]}\.py: error): \S"
    lines = outcome.err.split("\n")  # str.splitlines would split at more than newlines
    at = [i for i, line in enumerate(lines) if re.match(pattern, line)]
    if not at:
        return []
    return [line for line in lines[at[0] :] if line.strip()]


def refused(outcome: Outcome) -> bool:
    return outcome.code == 2


def unchanged(before: dict, folder: Path) -> None:
    """Check that a refused command wrote nothing."""
    after = listing(folder)
    new = sorted(after.keys() - before.keys())
    other = sorted(name for name in before if before[name] != after.get(name))
    assert not new and not other, f"it was refused, but wrote {new} and changed {other}"


def sound_results(run: Path) -> dict:
    """Check and return a run's ``results.json``: JSON of the standard, accuracies in percent."""
    text = (run / "results.json").read_text()
    results = json.loads(text, parse_constant=_no_constant)
    for method, sets in results["results"].items():
        for name, scores in sets.items():
            accuracy = scores["accuracy"]
            assert 0 <= accuracy <= 100, f"{method} has {accuracy}% on {name}"
    return results


def sound_run(run: Path) -> dict:
    """Check the results and the last prompts of a finished run; return the results."""
    assert (run / "results.json").is_file(), "it ended well, but without results"
    last = max(run.glob("checkpoints/epoch-*"), key=lambda place: int(place.name[6:]))
    for name, value in load_file(last / "prompts.safetensors").items():
        assert value.isfinite().all(), f"{name} of {last} is not finite"
    return sound_results(run)


def _no_constant(text: str) -> float:
    raise AssertionError(f"results.json holds {text}, which is no JSON")


def is_harmless(text: str) -> bool:
    """Return whether a text has no character that a terminal would act upon."""
    return not any(
        unicodedata.category(letter) in ("Cc", "Cf", "Cs")
        for letter in text
        if letter not in "\n\t"
    )
