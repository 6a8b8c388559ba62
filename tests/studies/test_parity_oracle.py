"""Settings that no official run was recorded with: ``studies.parity`` on records of plain code.

The plain code of ``tests/oracle`` first reproduces the official records, which makes it a witness
for other lengths, depths, widths, batch sizes, positions, weights and rates of the same methods.
"""

import functools
import json
from pathlib import Path

import pytest
import torch
from plain_runs import PlainRun

from softprompt.core.studies.parity import TOLERANCE, examine, replay
from softprompt.core.studies.recipe import load_recipe

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
RECIPE = GOLDEN / "recipe.py"
PHRASE = "a photo of a"
NAMES = json.loads((GOLDEN / "CoOp.json").read_text())["classnames"]
BOTH = {"n": 4, "deep_text": 3, "m": 4, "deep_image": 3, "phrase": PHRASE}
META = {"adapt_lr": 5e-4, "lr_ratio": 5e-4}
OFFICIAL = {
    "CoOp": {"lr": 0.002, "n": 16},
    "CoCoOp": {"lr": 0.002, "n": 4, "phrase": PHRASE},
    "VPT": {"lr": 0.0025, "m": 8, "deep_image": 3, "phrase": PHRASE},
    "IVLP": {"lr": 0.0035, **BOTH, "n": 2, "m": 2},
    "MaPLe": {"lr": 0.0035, "n": 2, "deep_text": 3, "phrase": PHRASE},
    "ProGrad": {"lr": 0.002, "n": 16, "phrase": "X " * 12 + PHRASE}
    | {"strength": 1.0, "temperature": 1.0},
    "PromptSRC": {"lr": 0.0025, **BOTH, "text": 25.0, "image": 10.0, "mean": 3.0, "std": 1.0},
    "ProMetaR": {"lr": 0.0025, **BOTH, **META},
}
# Widths, heads and depths of a backbone other than the recipe's.
OTHER = {"embed_dim": 96, "vision_layers": 3, "vision_width": 192, "vision_patch_size": 32}
OTHER |= {"transformer_width": 128, "transformer_heads": 2, "transformer_layers": 5}

# id: method, YAML file, official KEY VALUE pairs, the plain code's own setting
SETTINGS = {
    "class-specific": (
        "CoOp",
        "vit_b16_ep50",
        "TRAINER.COOP.CSC True TRAINER.COOP.N_CTX 5 DATALOADER.TRAIN_X.BATCH_SIZE 7",
        {"lr": 0.002, "n": 5, "csc": True, "batch": 7},
    ),
    "middle, odd, longer schedule": (
        "CoOp",
        "vit_b16",
        "TRAINER.COOP.CLASS_TOKEN_POSITION middle TRAINER.COOP.N_CTX 5 OPTIM.MAX_EPOCH 9 "
        "OPTIM.LR 0.01",
        {"lr": 0.01, "n": 5, "position": "middle", "batch": 6, "epochs": 9},
    ),
    "front, class-specific, other widths": (
        "CoOp",
        "vit_b16",
        "TRAINER.COOP.CLASS_TOKEN_POSITION front TRAINER.COOP.N_CTX 3 TRAINER.COOP.CSC True",
        {"lr": 0.002, "n": 3, "csc": True, "position": "front", "batch": 32, "spec": OTHER},
    ),
    "unconditional start, several images": (
        "CoCoOp",
        "vit_b16_c16_ep10_batch1",
        "TRAINER.COCOOP.N_CTX 2",
        {"lr": 0.002, "n": 2, "batch": 3, "spec": OTHER},
    ),
    "shallow": (
        "VPT",
        "vit_b16_c2_ep5_batch4_4",
        "TRAINER.VPT.N_CTX_VISION 3 TRAINER.VPT.PROMPT_DEPTH_VISION 1",
        {"lr": 0.0025, "m": 3, "phrase": PHRASE, "batch": 2, "spec": OTHER},
    ),
    "towers of different lengths and depths": (
        "IVLP",
        "vit_b16_c2_ep5_batch4_2+2ctx",
        "TRAINER.IVLP.N_CTX_TEXT 3 TRAINER.IVLP.N_CTX_VISION 5 TRAINER.IVLP.PROMPT_DEPTH_TEXT 5 "
        "TRAINER.IVLP.PROMPT_DEPTH_VISION 2",
        {"lr": 0.0035, "n": 3, "m": 5, "deep_text": 4, "deep_image": 1, "phrase": PHRASE}
        | {"batch": 5, "spec": OTHER},
    ),
    "language only": (
        "IVLP",
        "vit_b16_c2_ep5_batch4_4ctx_language_only",
        "TRAINER.IVLP.PROMPT_DEPTH_TEXT 3",
        {"lr": 0.0025, "n": 4, "deep_text": 2, "phrase": PHRASE, "batch": 4},
    ),
    "depth 2 of 3 vectors": (
        "MaPLe",
        "vit_b16_c2_ep5_batch4_2ctx",
        "TRAINER.MAPLE.N_CTX 3 TRAINER.MAPLE.PROMPT_DEPTH 2",
        {"lr": 0.0035, "n": 3, "deep_text": 1, "phrase": PHRASE, "batch": 6, "spec": OTHER},
    ),
    "lambda and temperature": (
        "ProGrad",
        "rn50_ep50",
        "LOSS.LAMBDA 0.3 LOSS.T 2.5 TRAINER.COOP.N_CTX 4",
        {"lr": 0.002, "n": 4, "phrase": PHRASE, "strength": 0.3, "temperature": 2.5, "batch": 9},
    ),
    "projected as a whole, class-specific": (
        "ProGrad",
        "rn50_ep50",
        "TRAINER.COOP.CTX_INIT False TRAINER.COOP.CSC True TRAINER.COOP.N_CTX 2 LOSS.LAMBDA 0.8",
        {"lr": 0.002, "n": 2, "csc": True, "strength": 0.8, "temperature": 1.0, "batch": 8}
        | {"spec": OTHER},
    ),
    "other weights and average": (
        "PromptSRC",
        "vit_b16_c2_ep20_batch4_4+4ctx",
        "TRAINER.PROMPTSRC.N_CTX_TEXT 2 TRAINER.PROMPTSRC.PROMPT_DEPTH_TEXT 2 "
        "TRAINER.PROMPTSRC.PROMPT_DEPTH_VISION 3 TRAINER.PROMPTSRC.TEXT_LOSS_WEIGHT 5 "
        "TRAINER.PROMPTSRC.IMAGE_LOSS_WEIGHT 3 TRAINER.PROMPTSRC.GPA_MEAN 2 "
        "TRAINER.PROMPTSRC.GPA_STD 2.5",
        {"lr": 0.0025, "n": 2, "m": 4, "deep_text": 1, "deep_image": 2, "phrase": PHRASE}
        | {"text": 5.0, "image": 3.0, "mean": 2.0, "std": 2.5, "batch": 7},
    ),
    "several query images, large rates": (
        "ProMetaR",
        "vit_b16_c2_ep10_batch4_4+4ctx",
        "TRAINER.PROMETAR.N_CTX_TEXT 2 TRAINER.PROMETAR.N_CTX_VISION 3 "
        "TRAINER.PROMETAR.PROMPT_DEPTH_TEXT 2 TRAINER.PROMETAR.PROMPT_DEPTH_VISION 3 "
        "TRAINER.PROMETAR.ADAPT_LR 0.05 TRAINER.PROMETAR.LR_RATIO 0.7",
        {"lr": 0.0025, "n": 2, "m": 3, "deep_text": 1, "deep_image": 2, "phrase": PHRASE}
        | {"adapt_lr": 0.05, "lr_ratio": 0.7, "batch": 16, "spec": OTHER},
    ),
    "first order": (
        "ProMetaR",
        "vit_b16_c2_ep10_batch4_4+4ctx",
        "TRAINER.PROMETAR.PROMPT_DEPTH_TEXT 1 TRAINER.PROMETAR.PROMPT_DEPTH_VISION 2 "
        "TRAINER.PROMETAR.FAST_ADAPTATION True TRAINER.PROMETAR.ADAPT_LR 0.05 "
        "TRAINER.PROMETAR.LR_RATIO 1.0",
        {"lr": 0.0025, "n": 4, "m": 4, "deep_image": 1, "phrase": PHRASE}
        | {"adapt_lr": 0.05, "lr_ratio": 1.0, "first_order": True, "batch": 10},
    ),
    "one label, so no episode": (
        "ProMetaR",
        "vit_b16_c2_ep10_batch4_4+4ctx",
        "TRAINER.PROMETAR.PROMPT_DEPTH_TEXT 1 TRAINER.PROMETAR.PROMPT_DEPTH_VISION 1",
        {"lr": 0.0025, "n": 4, "m": 4, "phrase": PHRASE, **META, "batch": 1},
    ),
}


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def recipe_with(spec: dict):
    return recipe_of(tuple(spec.items()))


@functools.cache
def recipe_of(spec: tuple):
    """The recipe with some widths changed; it draws its weights once for all tests."""
    recipe = load_recipe(RECIPE)
    recipe.spec |= dict(spec)
    recipe.state_dict = functools.cache(recipe.state_dict)
    return recipe


def recorded(method: str, file: str, pairs: str, batch: int, spec=None, epochs=5, **setting):
    """A record of the plain code, and the recipe behind it."""
    recipe = recipe_with(spec or {})
    command = ["--trainer", method, "--config-file", f"configs/trainers/{method}/{file}.yaml"]
    command += ["--dataset-config-file", "configs/datasets/caltech101.yaml"]
    command += ["OPTIM.MAX_EPOCH", str(epochs), *pairs.split()]
    run = PlainRun(recipe, method, NAMES, batch=batch, **setting)
    return run.record(command, epochs=epochs), recipe


def apart(ours, theirs) -> float:
    """The worst relative difference of two records, infinity where lists have other lengths."""
    if isinstance(theirs, dict):
        compared = theirs.keys() - {"acc"}
        return max((apart(ours[key], theirs[key]) for key in compared), default=0)
    if not isinstance(theirs, list):
        return abs(ours - theirs) / abs(theirs) if isinstance(theirs, float) else 0.0
    if len(ours) != len(theirs):
        return float("inf")
    if not theirs or not all(isinstance(value, float) for value in theirs):
        return max(map(apart, ours, theirs), default=0)
    size = theirs[0] if len(theirs) == 2 else max(map(abs, theirs))  # [norm, inner], or logits
    return max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) / size


@pytest.mark.parametrize("method", OFFICIAL)
def test_the_plain_code_reproduces_an_official_run(method):
    official = json.loads((GOLDEN / f"{method}.json").read_text())
    run = PlainRun(recipe_with({}), method, NAMES, batch=official["batch"], **OFFICIAL[method])
    draws = [step["draws"] for step in official["steps"]]
    ours = run.record(official["official_config"], draws)
    assert ours.keys() == official.keys()
    assert apart(ours, official) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_another_setting_is_reproduced(name):
    method, file, pairs, setting = SETTINGS[name]
    record, recipe = recorded(method, file, pairs, **setting)
    if name.startswith("several query images"):
        queries = [len(draw[1]) for step in record["steps"] for draw in step["draws"]]
        assert max(queries) > 1
    worst = replay(record, recipe)
    assert {"logits", "loss", "rate", "parameter", "gradient of the model"} <= set(worst)
    assert max(worst.values()) < 1e-8, worst


def test_the_tool_takes_a_record_and_its_recipe(load_tool, tmp_path, capsys):
    parity = load_tool("parity")
    method, file, pairs, setting = SETTINGS["shallow"]
    record, _ = recorded(method, file, pairs, **setting)
    recipe = tmp_path / "wider.py"
    recipe.write_text(f"{(GOLDEN / 'recipe.py').read_text()}\nSPEC |= {OTHER}\n")
    kept = tmp_path / "record.json"
    kept.write_text(json.dumps(record))
    assert parity.main([str(kept), "--recipe", str(recipe)]) == 0
    assert parity.main([str(kept)]) == 2  # the default recipe has other widths
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("rate", ["0.05", "0.5", "3.0"])
def test_rounding_that_large_rates_magnify_is_no_difference(rate, monkeypatch):
    """The plain code in float32, as official code runs; in float64 it agrees to 1e-8, see above."""
    method, file, pairs, setting = SETTINGS["several query images, large rates"]
    changed = setting | {"adapt_lr": float(rate)}
    torch.set_default_dtype(torch.float32)
    with monkeypatch.context() as single:
        single.setattr(torch.Tensor, "double", torch.Tensor.float)
        record, recipe = recorded(method, file, pairs.replace("0.05", rate), **changed)
    found = examine(record, recipe)
    assert max(each.error for each in found.values()) > TOLERANCE
    assert not any(each.differs(TOLERANCE) for each in found.values()), found

    other = pairs.replace("0.05", str(float(rate) / 2))
    record["official_config"] += other.split()
    assert any(each.differs(TOLERANCE) for each in examine(record, recipe).values())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "word", "other"),
    [
        ("lambda and temperature", "0.3", "0.4"),
        ("lambda and temperature", "2.5", "2.4"),
        ("first order", "True", "False"),
        ("middle, odd, longer schedule", "middle", "front"),
        ("middle, odd, longer schedule", "0.01", "0.011"),
    ],
)
def test_a_setting_that_was_not_run_is_noticed(name, word, other):
    method, file, pairs, setting = SETTINGS[name]
    record, recipe = recorded(method, file, pairs.replace(word, other), **setting)
    assert max(replay(record, recipe).values()) > TOLERANCE
