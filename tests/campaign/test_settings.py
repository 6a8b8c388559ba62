"""Any value for any key of the configuration: a sound run, or one line and nothing written."""

import itertools
from pathlib import Path

import pytest
from forked import TRAIN, run
from hypothesis import strategies as st
from inputs import NASTY, Campaign, arguments
from oracle import judge, listing, refused, sound_run, unchanged

from softprompt.core.base.registry import PROMPT_LEARNERS, TRAINERS
from softprompt.core.config.options import node_name, option_keys
from softprompt.core.config.schema import KEYS

KIND = "values of settings"

# Legal, and longer than a test may take: no value of the system is wrong, only large.
SLOW = ("OPTIM.MAX_EPOCH", "DATALOADER.NUM_WORKERS", "INPUT.SIZE", "INPUT.VIEWS")


def keys() -> list[tuple[str, object, tuple[str, ...]]]:
    """Return each key, its default, and the pairs without which it is not read."""
    found = [(key.name, key.default, ()) for key in KEYS]
    for node, registry in (("PROMPT", PROMPT_LEARNERS), ("TRAINER", TRAINERS)):
        for name in registry.names():
            needs = (f"{node}.NAME", name)
            for key in option_keys(f"{node}.{node_name(name)}", registry[name]):
                found.append((key.name, key.default, needs))
    return found


def near(default: object) -> st.SearchStrategy[str]:
    """Draw words that are nearly values of the key."""
    if isinstance(default, bool) or not isinstance(default, int | float):
        return arguments
    numbers = (-1e9, -2, -1, -0.5, 0, 1e-30, 0.3, 0.999, 1, 1.5, 2, 3, 17, 1000)
    kind = type(default)
    return st.sampled_from([str(kind(number)) for number in numbers]) | arguments


@st.composite
def settings(draw) -> tuple[str, str, tuple[str, ...]]:
    key, default, needs = draw(st.sampled_from(keys()))
    value = draw(near(default))
    if key in SLOW and value.strip().lstrip("+").replace("_", "").isdigit():
        value = str(int(value) % 3)
    return key, value, needs


def check_setting(case: tuple[str, str, tuple[str, ...]], folder: Path) -> None:
    key, value, needs = case
    output = () if key == "OUTPUT_DIR" else ("--output-dir", "run")
    before = listing(folder)
    outcome = run("train", *TRAIN, *output, "--", *needs, key, value, cwd=folder)
    judge_training(outcome, folder, before)
    if key != "OUTPUT_DIR" and outcome.code == 0:
        sound_run(folder / "run")


def judge_training(outcome, folder: Path, before: dict) -> None:
    """Judge a run; one that diverges has begun, and says so without any results."""
    judge(outcome)
    if refused(outcome):
        if "begun" in outcome.err or "finite" in outcome.err or " is nan" in outcome.err:
            assert not (folder / "run" / "results.json").exists(), f"results of nothing: {outcome}"
        else:
            unchanged(before, folder)


def test_any_value_of_any_setting(campaign: Campaign):
    campaign.run(settings(), check_setting, inputs=450)


@pytest.mark.parametrize("node", ["PROMPT.NAME", "TRAINER.NAME", "DATASET.NAME"])
def test_names_that_are_not_registered(campaign: Campaign, node):
    words = list(itertools.chain(NASTY, ("coopp", "cocop", "pro-metar", "COOP", "shape")))
    cases = st.sampled_from([word for word in words if "\0" not in word])

    def check(name: str, folder: Path) -> None:
        before = listing(folder)
        outcome = run("train", *TRAIN, "--output-dir", "run", "--", node, name, cwd=folder)
        judge_training(outcome, folder, before)

    campaign.run(cases, check, inputs=30)
