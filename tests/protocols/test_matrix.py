"""``tools/matrix.py``: what it plans and prints, and real runs that fail, die and go on."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import _workers
import matrix
import pytest
import yaml
from _matrix_table import Cell
from _workers import outcomes

from softprompt.core.base.registry import PROMPT_LEARNERS, TRAINERS
from softprompt.core.config.load import load_config
from softprompt.core.engine.run import train

ROOT = Path(__file__).resolve().parents[2]
QUICK = ["OPTIM.MAX_EPOCH", "2", "DATASET.NUM_SHOTS", "2", "TEST.MAX_IMAGES", "20"]
QUICK += ["MODEL.BACKBONE.PRETRAINED", "", "DATALOADER.TRAIN_X.BATCH_SIZE", "4"]
PLUGIN = """
import os

from softprompt.core import TRAINERS
from softprompt.trainers.erm import ERM


@TRAINERS.register("mine")
class Mine(ERM):
    def loss(self, batch):
        if "BROKEN" in os.environ:
            raise RuntimeError("first\\nthe shapes do not fit")
        return super().loss(batch)
"""


@pytest.fixture
def said(capsys):
    """Run the tool; return its status, its output and its errors."""

    def said(*arguments) -> tuple[int, str, str]:
        status = matrix.main([*map(str, arguments)])
        return status, *capsys.readouterr()

    return said


@pytest.fixture
def finished():
    """Write a cell as if it had run; return its folder."""

    def finished(folder: Path, learner: str, trainer: str, seed: int, base, new, **settings):
        cell = Cell(learner, trainer, seed, folder / learner / trainer / f"seed{seed}")
        if not trainer:
            cell = cell._replace(folder=folder / learner)
        cell.folder.mkdir(parents=True)
        cfg = matrix.configuration(cell, [str(x) for pair in settings.items() for x in pair])
        (cell.folder / "config.yaml").write_text(cfg.dump())
        scores = {cell.name: {"base": {"accuracy": base}, "new": {"accuracy": new}}}
        found = {"results": scores, "warnings": [], "environment": {"commit": "abc"}}
        (cell.folder / "results.json").write_text(json.dumps(found))
        return cell.folder

    return finished


def pairs_of(cells: list[Cell]) -> set[tuple[str, str]]:
    return {(cell.learner, cell.trainer) for cell in cells}


def test_all_pairs_of_the_registries_are_planned(learners, tmp_path):
    given = matrix.parse(["--output-dir", str(tmp_path), "--seeds", "4", "5"])
    cells = matrix.plan(given)
    wanted = {(learner, trainer) for learner in learners for trainer in TRAINERS.names()}
    untrained = {(name, "") for name in PROMPT_LEARNERS.names() if name not in learners}
    assert pairs_of(cells) == wanted | untrained
    assert ("zeroshot", "") in untrained
    first = len(untrained | wanted)
    assert [cell.seed for cell in cells] == [4] * first + [5] * len(wanted)
    assert len({cell.folder for cell in cells}) == len(cells)


@pytest.mark.parametrize("learner", ["maple", "cocoop"])
def test_a_pair_has_its_own_options_and_the_common_budget(learner, tmp_path):
    """All but PROMPT and TRAINER agree with any other pair; these two are their own configs'."""
    cfg = matrix.configuration(Cell(learner, "promptsrc", 3, tmp_path), [])
    other = matrix.configuration(Cell("coop", "erm", 3, tmp_path), [])
    plain = {key: value for key, value in cfg.items() if key not in ("PROMPT", "TRAINER")}
    assert plain == {key: other[key] for key in plain}
    assert (cfg.PROMPT.NAME, cfg.TRAINER.NAME, cfg.SEED) == (learner, "promptsrc", 3)
    own = yaml.safe_load((ROOT / "configs" / learner / "tiny.yaml").read_text())["PROMPT"]
    assert own[learner.upper()].items() <= cfg.PROMPT[learner.upper()].items()
    src = yaml.safe_load((ROOT / "configs" / "promptsrc" / "tiny.yaml").read_text())["TRAINER"]
    assert src["PROMPTSRC"].items() <= cfg.TRAINER.PROMPTSRC.items()


def test_a_trainer_with_files_by_learner_has_these_or_its_defaults(tmp_path, monkeypatch):
    (tmp_path / "kgcoop").mkdir()
    for name, weight in (("coop_tiny", 3), ("tiny", 5)):
        text = f"TRAINER: {{NAME: kgcoop, KGCOOP: {{WEIGHT: {weight}}}}}\n"
        text += "PROMPT: {NAME: coop}\nDATASET: {NAME: shapes}\n"
        (tmp_path / "kgcoop" / f"{name}.yaml").write_text(text)
    monkeypatch.setattr(matrix, "CONFIGS", tmp_path)

    def weight(learner: str) -> float:
        cfg = matrix.configuration(Cell(learner, "kgcoop", 1, tmp_path), [])
        return cfg.TRAINER.KGCOOP.WEIGHT

    assert (weight("coop"), weight("vpt")) == (3.0, 8.0)
    (tmp_path / "kgcoop" / "coop_tiny.yaml").unlink()
    assert (weight("cocoop"), weight("language_only")) == (5.0, 5.0)


def test_pairs_may_follow_any_flag(tmp_path):
    given = matrix.parse(
        ["--learners", "CoOp", "maple", "OPTIM.LR", "1", "--output-dir", "x", "SEED", "-1"]
    )
    assert given.learners == ["CoOp", "maple"]
    assert given.options == ["OPTIM.LR", "1", "SEED", "-1"]


def test_the_table_averages_seeds_and_takes_h_of_the_averages(said, finished, tmp_path):
    finished(tmp_path, "zeroshot", "", 1, 50.0, 50.0)
    for seed, (base, new) in enumerate([(90, 10), (10, 90), (50, 20)], 1):
        finished(tmp_path, "coop", "erm", seed, base, new)
        finished(tmp_path, "vpt", "erm", seed, 80, 60.0)
    results = tmp_path / "coop" / "erm" / "seed1" / "results.json"
    noted = json.loads(results.read_text()) | {"train": {"note": "a start of its own"}}
    results.write_text(json.dumps(noted))
    asked = ["--output-dir", tmp_path, "--table", "--learners", "coop", "vpt", "--trainers", "erm"]
    status, table, _ = said(*asked)
    assert status == 0
    assert "| `coop`                   | 50.0 / 40.0 / 44.4 |" in table
    assert "| `vpt`                    | 80.0 / 60.0 / 68.6 |" in table
    assert "| `zeroshot` (not trained) | 50.0 / 50.0 / 50.0 |" in table
    assert "means of seeds 1, 2, 3" in table
    assert "20 epochs in batches of 16" in table
    assert table.endswith("\n\n* `coop` under `erm`: a start of its own\n")
    assert "missing" not in table
    assert not (tmp_path / matrix.TABLE).exists()


def test_what_is_missing_is_marked(said, finished, tmp_path):
    finished(tmp_path, "coop", "erm", 1, 80.0, 60.0)
    finished(tmp_path, "coop", "erm", 3, 60.0, 40.0)
    asked = ["--learners", "coop", "--trainers", "erm", "kgcoop", "--table"]
    status, table, _ = said("--output-dir", tmp_path, *asked)
    assert status == 0
    assert "**Incomplete: 5 of 7 runs are missing**" in table
    assert "| `coop`                   | 70.0 / 50.0 / 58.3 (seeds 1, 3 only) | –" in table
    assert "| `zeroshot` (not trained) | –  " in table


@pytest.mark.parametrize(
    ("learner", "trainer", "settings", "says"),
    [
        ("vpt", "erm", {"OPTIM.LR": 1.0}, "OPTIM.LR 0.0025 and 1.0"),
        ("coop", "kgcoop", {"PROMPT.COOP.N_CTX": 7}, "N_CTX 4 and 7"),
    ],
)
def test_runs_of_different_settings_make_no_table(
    learner, trainer, settings, says, said, finished, tmp_path
):
    finished(tmp_path, "coop", "erm", 1, 80.0, 60.0)
    finished(tmp_path, learner, trainer, 1, 80.0, 60.0, **settings)
    status, _, errors = said("--output-dir", tmp_path, "--table", "--seeds", 1)
    assert status == 2
    assert says in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--learners", "cop"], "no prompt learner named 'cop'; did you mean 'coop'?"),
        (["--trainers", "emr"], "no trainer named 'emr'; did you mean 'erm'?"),
        (["--jobs", "0"], "--jobs is 0"),
        (["--seeds", "-1"], "SEED is -1"),
        (["SEED", "2"], "SEED is what the matrix varies"),
        (["OPTIM.LRR", "2"], "no option OPTIM.LRR; did you mean 'LR'?"),
        (["OPTIM.LR"], "'OPTIM.LR' is left over"),
        (["--table"], "none of the"),
        (["OPTIM.LR", "7"], "holds a run with OPTIM.LR 0.0025, not 7.0"),
    ],
)
def test_a_mistake_is_one_line_and_runs_nothing(arguments, says, said, finished, tmp_path):
    if "7" in arguments:
        finished(tmp_path, "coop", "erm", 1, 80.0, 60.0)
    before = sorted(tmp_path.rglob("*"))
    status, _, errors = said("--output-dir", tmp_path, *arguments)
    assert status == 2
    assert says in errors
    assert errors.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_failing_cell_stops_no_other_and_is_repeated(said, plugin_file, monkeypatch, tmp_path):
    in_this_process = lambda work, jobs, _: ((job, work(job)) for job in jobs)  # noqa: E731
    monkeypatch.setattr(_workers, "outcomes", in_this_process)
    monkeypatch.setenv("BROKEN", "yes")
    file = plugin_file(PLUGIN)
    asked = ["--output-dir", tmp_path / "out", "--learners", "coop", "--trainers", "mine", "erm"]
    asked += ["--seeds", 1, "--jobs", 1, *QUICK, "PLUGINS", file]
    status, out, errors = said(*asked)
    assert status == 1
    assert errors == "error: 1 runs failed; the same command repeats them\n"
    assert "coop under mine, seed 1: FAILED: the shapes do not fit (see " in out
    report = tmp_path / "out" / "coop" / "mine" / "seed1-error.txt"
    assert "Traceback" in report.read_text()
    assert "coop under erm, seed 1: base " in out
    table = (tmp_path / "out" / matrix.TABLE).read_text()
    assert table in out
    assert "1 of 3 runs are missing" in table
    assert "RANDOM WEIGHTS" in table

    before = results(tmp_path / "out")
    monkeypatch.delenv("BROKEN")
    status, out, _ = said(*asked)
    assert status == 0
    assert "3 runs, 2 of them there already" in out
    assert "[1/1] coop under mine" in out
    after = results(tmp_path / "out")
    assert before.items() < after.items()
    mine, erm = (list(after[f"coop/{trainer}/seed1"].values()) for trainer in ("mine", "erm"))
    assert mine == erm
    assert not report.exists()


@pytest.mark.slow
def test_a_killed_matrix_leaves_no_process_and_goes_on(said, tmp_path):
    """Killed in a run, it ends as an ordinary run does."""
    out = tmp_path / "out"
    asked = ["--output-dir", str(out), "--learners", "coop", "--trainers", "kgcoop", "--seeds", "1"]
    asked += ["--jobs", "1", *QUICK, "OPTIM.MAX_EPOCH", "10"]
    tool = str(ROOT / "tools" / "matrix.py")
    running = subprocess.Popen([sys.executable, tool, *asked], stdout=subprocess.DEVNULL)
    cell = out / "coop" / "kgcoop" / "seed1"
    saved = cell / "checkpoints"  # not searched deeper: folders in it come and go
    wait_for(lambda: [*saved.glob("epoch-[2-9]")] or running.poll() is not None)
    running.kill()
    assert running.wait() == -signal.SIGKILL
    wait_for(lambda: not working_in(out))
    assert set(results(out)) == {"zeroshot"}
    status, printed, errors = said(*asked)
    assert (status, errors) == (0, "")
    assert "2 runs, 1 of them there already" in printed
    assert "resuming after epoch" in (cell / "log.txt").read_text()

    alone = tmp_path / "alone"
    train(load_config(str(cell / "config.yaml"), flags={"OUTPUT_DIR": str(alone)}))
    assert losses(cell) == losses(alone)


def test_an_interrupted_matrix_says_how_to_go_on(said, monkeypatch, tmp_path):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(_workers, "outcomes", interrupted)
    status, _, errors = said("--output-dir", tmp_path, "--learners", "coop", "--seeds", 1, *QUICK)
    assert status == 130
    assert errors == "interrupted; the same command goes on\n"


def test_a_worker_that_dies_takes_only_its_own_job_along():
    said = dict(outcomes(os.system, ["true", "kill -9 $PPID", "true", "true"], 2))
    assert said == {"true": 0, "kill -9 $PPID": "its process died with exit status -9"}
    assert not multiprocessing.active_children()


def test_workers_end_with_their_caller():
    ended = outcomes(time.sleep, [0, 3600], 2)
    assert next(ended) == (0, None)
    began = time.monotonic()
    ended.close()
    assert not multiprocessing.active_children()
    assert time.monotonic() - began < 600


def results(folder: Path) -> dict[str, dict]:
    """The results of each finished run below a folder, by its path."""
    return {
        file.parent.relative_to(folder).as_posix(): json.loads(file.read_text())["results"]
        for file in folder.rglob("results.json")
    }


def losses(folder: Path) -> list[float]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["ce"] for line in lines]


def wait_for(condition, seconds: float = 300.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def working_in(folder: Path) -> list[str]:
    """Processes that have a file below a folder open."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            target = os.readlink(entry)
        except OSError:
            continue
        if target.startswith(str(folder)):
            found.append(str(entry))
    return found
