"""Two processes that train one run, by torchrun, do what one process does alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import meta_train  # tools/ is on the path
import pytest
import torch
import train

from softprompt.core.base.registry import TRAINERS
from softprompt.core.engine import checkpoint

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def run(*command) -> str:
    done = subprocess.run(
        list(map(str, command)),
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> list[dict]:
    """What one process finds, and what each of two does."""
    folder = tmp_path_factory.mktemp("found")
    run(*TORCHRUN, HERE / "parallel_script.py", folder)
    return [torch.load(folder / f"{name}.pt") for name in ("alone", 0, 1)]


def error(one: torch.Tensor, other: torch.Tensor) -> float:
    return ((one - other).abs().max() / one.abs().max().clamp(min=1e-12)).item()


@pytest.mark.slow
@pytest.mark.parametrize("trainer", [*TRAINERS.names(), "divided", "chunks", "meta-gradients"])
def test_two_processes_are_one(trainer, found):
    """All are in double precision."""
    alone, first, second = found
    cases = [case for case in alone if trainer in case]
    assert cases
    for case in cases:
        for name, value in alone[case].items():
            assert error(value, first[case][name]) < 1e-9, (case, name)
        trained = [name for name in alone[case] if name not in ("logits", "logged")]
        assert all(torch.equal(first[case][name], second[case][name]) for name in trained), case


def accuracies(file: Path) -> list[float]:
    found = json.loads(file.read_text())
    by_set = [scores for model in found["results"].values() for scores in model.values()]
    return [scores["accuracy"] for scores in by_set] + list(found["harmonic_mean"].values())


@pytest.mark.slow
@pytest.mark.parametrize("config", ["prometar", "cocoop"])
def test_a_run_by_torchrun(config, tmp_path):
    """An odd last batch of the evaluation, a batch of one, and a single writer."""
    arguments = [
        *("--config-file", ROOT / f"configs/{config}/tiny.yaml"),
        *("OPTIM.MAX_EPOCH", 2, "OPTIM.WARMUP_EPOCH", 0, "DATASET.NUM_SHOTS", 1),
        *("TEST.MAX_IMAGES", 41, "DATALOADER.TEST.BATCH_SIZE", 20),
    ]
    assert train.main([*map(str, arguments), "--output-dir", str(tmp_path / "alone")]) == 0
    tool = ROOT / "tools/train.py"
    cache = tmp_path / "cache"
    said = run(*TORCHRUN, tool, *arguments, "--output-dir", tmp_path / "both", "CACHE.DIR", cache)
    assert said.count("finished: ") == 1
    assert said.count("CACHE.DIR is not used: 2 processes share") == 1 and not cache.exists()
    files = [tmp_path / place / "results.json" for place in ("alone", "both")]
    assert accuracies(files[0]) == accuracies(files[1])
    alone, both = (
        checkpoint.load_prompts(checkpoint.find_prompts(tmp_path / place))[0]
        for place in ("alone", "both")
    )
    assert all(error(alone[name], both[name]) < 1e-5 for name in alone)
    log = (tmp_path / "both" / "log.txt").read_text()
    assert log.count("training ") == 1
    lines = (tmp_path / "both" / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == len((tmp_path / "alone" / "metrics.jsonl").read_text().splitlines())


@pytest.mark.slow
def test_a_meta_training_by_torchrun(tmp_path):
    """The first process makes features and clusters, which the others then find."""
    tool = ROOT / "tools/meta_train.py"
    given = ["--config-file", ROOT / "configs/gram/meta_tiny.yaml"]
    given += ["META.PAIRS.SOURCE", "drawn:600", "META.PAIRS.CACHE", tmp_path / "cache"]
    given += ["META.OUTER.STEPS", 2, "META.OUTER.VAL_FREQ", 2, "META.OUTER.VAL_TASKS", 3]
    said = run(*TORCHRUN, tool, *given, "--output-dir", tmp_path / "both")
    assert said.count("finished: ") == 1
    assert meta_train.main([*map(str, given), "--output-dir", str(tmp_path / "alone")]) == 0
    alone, both = (
        json.loads((tmp_path / place / "results.json").read_text()) for place in ("alone", "both")
    )
    assert alone["inner_lr"] == both["inner_lr"]
    for one, other in zip(alone["validations"], both["validations"], strict=True):
        assert other == pytest.approx(one, rel=1e-4)
    assert (tmp_path / "both" / "gram.safetensors").is_file()
