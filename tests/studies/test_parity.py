"""The official runs, number for number; every clone has the records, so none is ever skipped."""

import functools
import json
from pathlib import Path

import pytest
import torch

from softprompt.core.clip.fast import onednn as linear
from softprompt.core.studies import parity
from softprompt.core.studies.parity import TOLERANCE, Replay
from softprompt.core.studies.recipe import Recipe, load_recipe

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
RECORDS = sorted(file.stem for file in GOLDEN.glob("*.json") if "sha256" not in file.name)
# In single precision: changing the weights by 1e-7 moves this error between 3.5e-5 and 1.8e-4.
GATE_TOLERANCE = 3e-4


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    """The recipe, which draws its weights once a precision: nobody changes them in place."""
    recipe = load_recipe(GOLDEN / "recipe.py")
    draw = recipe.state_dict
    drawn = functools.cache(lambda dtype: draw())
    recipe.state_dict = lambda: drawn(torch.get_default_dtype())
    return recipe


@pytest.fixture
def tool(load_tool, recipe, monkeypatch):
    monkeypatch.setattr(parity, "load_recipe", lambda file: recipe)
    return load_tool("parity")


def record(name: str) -> dict:
    return json.loads((GOLDEN / f"{name}.json").read_text())


def test_there_are_eight_records():
    assert len(RECORDS) >= 8


@pytest.mark.parametrize(
    ("name", "packed"),
    [(name, False) for name in RECORDS]
    + [("MaPLe", True)]
    + [pytest.param(name, True, marks=pytest.mark.slow) for name in RECORDS if name != "MaPLe"],
)
def test_an_official_run_is_reproduced(name, packed, recipe, monkeypatch):
    monkeypatch.setattr(linear, "_is_amd_with_avx512", lambda: packed)
    replay = Replay(record(name), recipe)
    worst = replay.run()
    assert (replay.clip.onednn_bytes > 0) == packed
    gate = worst.pop("gradient of the vnet", 0.0)
    assert max(worst.values()) <= TOLERANCE and gate <= GATE_TOLERANCE, worst
    assert {"logits", "loss", "rate", "parameter", "gradient of the model"} <= set(worst)


def test_the_recipe_has_the_recorded_checksums(recipe):
    weights = recipe.state_dict()
    images, labels, test_images = recipe.batches()

    def total(value) -> float:
        return value.double().sum().item()

    assert total(weights["positional_embedding"]) == pytest.approx(-2.952056, abs=1e-6)
    assert total(weights["visual.conv1.weight"]) == pytest.approx(-19.941517, abs=1e-6)
    assert total(weights["token_embedding.weight"]) == pytest.approx(-631.499044, abs=1e-5)
    assert total(weights["ln_final.bias"]) == pytest.approx(1.582980, abs=1e-6)
    assert total(images) == pytest.approx(1888.919209, abs=1e-5)
    assert labels.sum().item() == 741
    assert total(test_images) == pytest.approx(-660.381413, abs=1e-5)


def test_the_command_prints_the_worst_error_of_each_kind(tool, capsys):
    command = [str(GOLDEN / "CoOp.json"), "--recipe", str(GOLDEN / "recipe.py")]
    assert tool.main(command) == 0
    assert "gradient of the model" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda r: r["steps"][1]["updates"][0]["after"]["prompt_learner.ctx"].reverse(), 1),
        (lambda r: r["steps"][2].update(lr=0.5), 1),
        (lambda r: r["eval_logits_final"][3].reverse(), 1),
        (lambda r: r["official_config"].extend(["TRAINER.COOP.N_CTX", "8"]), 2),
        (lambda r: r["official_config"].extend(["--trainer", "TaskRes"]), 2),
        (lambda r: r["official_config"].extend(["OPTIM.NAME", "radam"]), 2),
        (lambda r: r.pop("steps"), 2),
    ],
)
def test_a_wrong_record_is_noticed(change, code, tool, tmp_path, capsys):
    changed = record("CoOp")
    change(changed)
    file = tmp_path / "changed.json"
    file.write_text(json.dumps(changed))
    assert tool.main([str(file), "--single"]) == code
    said = capsys.readouterr().err
    if code == 2:
        assert said.startswith("error: ")
        assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    "name", ["CoOp", *(pytest.param(n, marks=pytest.mark.slow) for n in RECORDS if n != "CoOp")]
)
def test_without_tolerance_every_error_of_an_official_run_is_its_rounding(name, tool, capsys):
    assert tool.main([str(GOLDEN / f"{name}.json"), "--tolerance", "0"]) == 0
    said = capsys.readouterr().out
    assert "<-- rounding: the replay's precision moves it by " in said
    assert "too large" not in said


def test_a_small_difference_is_no_rounding(tool, tmp_path, capsys):
    changed = record("CoOp")
    for step in changed["steps"]:
        step["loss_summary"]["loss"] *= 1 + 2e-5
    file = tmp_path / "changed.json"
    file.write_text(json.dumps(changed))
    assert tool.main([str(file), "--tolerance", "1e-5"]) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "too large" in line]
    assert line.startswith("loss ")
    assert tool.main([str(file), "--tolerance", "-1"]) == 2


@pytest.mark.parametrize("name", RECORDS)
def test_in_double_only_the_records_rounding_is_left(name, tool):
    assert tool.main([str(GOLDEN / f"{name}.json")]) == 0
