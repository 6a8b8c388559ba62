"""``tools/sweep.py``: how it reads its arguments, and how it ends."""

from pathlib import Path

import pytest
import sweep  # tools/ is on the path

ROOT = Path(__file__).resolve().parents[2]
COOP = "configs/coop/tiny.yaml"


@pytest.fixture
def said(capsys, tmp_path, monkeypatch):
    """Run the tool in an empty folder; return its status, its output and its errors."""
    monkeypatch.chdir(tmp_path)

    def said(*arguments: str) -> tuple[int, str, str]:
        status = sweep.main([*arguments, "--output-dir", "out"])
        return status, *capsys.readouterr()

    return said


def test_pairs_may_follow_any_list():
    words = ["--config-file", COOP, "--output-dir", "out", "--datasets", "shapes", "patterns"]
    given = sweep.parse(["few_shot", "--seeds", "1", "2", "OPTIM.LR", "-1", *words, "SEED", "3"])
    assert given.protocol == "few_shot"
    assert given.datasets == ["shapes", "patterns"]
    assert given.seeds == [1, 2]
    assert given.options == ["OPTIM.LR", "-1", "SEED", "3"]


def test_pairs_may_follow_two_hyphens_and_then_stand_nowhere_else():
    words = ["--config-file", COOP, "--output-dir", "out", "--datasets", "shapes", "SEED", "3"]
    given = sweep.parse(["few_shot", *words, "--", "OPTIM.LR", "-1", "mine", "--"])
    assert given.datasets == ["shapes", "SEED", "3"]
    assert given.options == ["OPTIM.LR", "-1", "mine", "--"]


def test_a_dry_run_lists_the_cells_and_writes_nothing(said, tmp_path):
    status, out, _ = said(
        *("domain_generalization", "--config-file", COOP, "--datasets", "shapes", "shapes_v2"),
        *("--seeds", "1", "2", "--dry-run"),
    )
    assert status == 0
    assert "transfer/coop/tiny/shapes/shots_16/seed_2/eval/shapes_v2  to run" in out
    assert "4 cells, 0 finished, 4 to run; 4 of unknown cost" in out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--config-file", "nowhere.yaml"], "no config file 'nowhere.yaml'"),
        (["--datasets", "shape"], "no dataset 'shape'; did you mean 'shapes'?"),
        (["--jobs", "-1"], "--jobs is -1, but must be at least 0"),
        (["--retries", "-1"], "argument --retries: -1 is less than 0"),
        (["--engine", "ray", "--threads", "2"], "--threads 2 is for workers of this machine, but"),
        (["OPTIM.LR", "fast"], "OPTIM.LR"),
        (["--seeds", "*"], "argument --seeds: '*' is no whole number"),
        (["--datasets", "dtd", "eurosat"], "dtd/images, where DescribableTextures has its"),
        (["--datasets", "dtd", "eurosat", "--dry-run"], "; nor can eurosat be opened"),
        (["--cache", "/dev/null/x"], "--cache /dev/null/x lies below /dev/null, which is a file"),
        (["--engine", "slurm"], "--engine slurm needs --jobs N"),
        (["--engine", "slurm", "--jobs", "1", "--slurm", "gpu"], "KEY=VALUE"),
        (["--address", "auto"], "--address auto is of a Ray cluster, but the engine is local"),
        (
            ["--engine", "slurm", "--jobs", "1", "--address", "auto"],
            "but the engine is slurm: give --engine ray, or leave --address out",
        ),
        (["--slurm", "slurm_partition=gpu"], "--slurm slurm_partition=gpu is for Slurm, but the"),
        (
            ["--engine", "ray", "--slurm", "slurm_partition=gpu"],
            "but the engine is ray: give --engine slurm, or leave --slurm out",
        ),
    ],
)
def test_a_mistake_is_one_line(said, arguments, says, monkeypatch):
    if "--engine" in arguments or "--address" in arguments or "--slurm" in arguments:
        monkeypatch.setattr(sweep, "cells_of", pytest.fail)  # planning takes long
    base = {"--config-file": [COOP], "--datasets": ["shapes"]}
    words = [w for key, values in base.items() if key not in arguments for w in (key, *values)]
    status, _, errors = said("base2new", *words, *arguments)
    assert status == 2
    assert errors.startswith("error: ") and says in errors and errors.count("\n") == 1


@pytest.mark.parametrize(("engine", "extra"), [("ray", "ray"), ("slurm", "slurm")])
def test_a_missing_extra_is_named(said, engine, extra, monkeypatch):
    monkeypatch.setattr("softprompt.core.protocols.engines.engine.find_spec", lambda name: None)
    status, _, errors = said(
        "base2new", "--config-file", COOP, "--datasets", "shapes", "--engine", engine
    )
    assert status == 2 and f'pip install ".[{extra}]"' in errors


def test_what_has_failed_is_named_in_the_end(said, in_process):
    def work(cell):
        if cell["flags"]["SEED"] == 2:
            return {"state": "refused", "error": "it broke"}
        raise SystemExit("died")

    in_process(work)
    status, out, errors = said(
        "base2new", "--config-file", COOP, "--datasets", "shapes", "--seeds", "1", "2"
    )
    assert status == 1
    assert "INCOMPLETE" in out
    assert "2 of 2 cells failed:" in errors
    assert "  base2new/coop/tiny/shapes/shots_16/seed_1: died, attempt 2 of 2" in errors
    assert "  base2new/coop/tiny/shapes/shots_16/seed_2: it broke" in errors
