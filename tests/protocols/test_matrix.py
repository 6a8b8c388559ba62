"""``tools/matrix.py``: its plan and its table, and real runs that fail, die and go on."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import matrix
import pytest
import yaml

from softprompt.core.base.registry import PROMPT_LEARNERS, TRAINERS
from softprompt.core.config.load import load_config
from softprompt.core.engine.run import train
from softprompt.core.protocols.cells import EVALUATE, TRAIN
from softprompt.core.protocols.engines.engine import Engine
from softprompt.core.protocols.plans.matrix import Matrix, MatrixRun

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
    """Write a run as if it had finished; return its folder."""

    def finished(folder: Path, learner: str, trainer: str, seed: int, base, new, **settings):
        run = run_of(folder, learner, trainer, seed)
        run.folder.mkdir(parents=True)
        pairs = tuple(str(x) for pair in settings.items() for x in pair)
        (run.folder / "config.yaml").write_text(Matrix(folder, pairs).configuration(run).dump())
        scores = {run.model: {"base": {"accuracy": base}, "new": {"accuracy": new}}}
        found = {"results": scores, "warnings": [], "environment": {"commit": "abc"}}
        (run.folder / "results.json").write_text(json.dumps(found))
        return run.folder

    return finished


def run_of(folder: Path, learner: str, trainer: str, seed: int) -> MatrixRun:
    place = folder / learner / trainer / f"seed{seed}" if trainer else folder / learner
    return MatrixRun(learner, trainer, seed, place)


def test_all_pairs_of_the_registries_are_planned(learners, tmp_path):
    runs = Matrix(tmp_path).plan([], [], [4, 5])
    wanted = {(learner, trainer) for learner in learners for trainer in TRAINERS.names()}
    untrained = {(name, "") for name in PROMPT_LEARNERS.names() if name not in learners}
    assert {(run.learner, run.trainer) for run in runs} == wanted | untrained
    assert ("zeroshot", "") in untrained
    first = len(untrained | wanted)
    assert [run.seed for run in runs] == [4] * first + [5] * len(wanted)
    assert len({run.folder for run in runs}) == len(runs)


@pytest.mark.parametrize(
    ("trainer", "place", "runner"),
    [("erm", "coop/erm/seed3", TRAIN), ("", "coop", EVALUATE)],
)
def test_a_cell_writes_to_the_folder_of_its_run(trainer, place, runner, tmp_path):
    cell = Matrix(tmp_path).cell(run_of(tmp_path, "coop", trainer, 3))
    assert (cell.folder, cell.runner) == (str(tmp_path / place), runner)
    assert cell.configuration().OUTPUT_DIR == cell.folder
    assert cell.leases == str(tmp_path / ".sweep" / place)


@pytest.mark.parametrize("learner", ["maple", "cocoop"])
def test_a_pair_has_its_own_options_and_the_common_budget(learner, tmp_path):
    """All but PROMPT and TRAINER agree with any other pair; these two are their own configs'."""
    cfg, other = (
        Matrix(tmp_path).configuration(run_of(tmp_path, *pair, 3))
        for pair in ((learner, "promptsrc"), ("coop", "erm"))
    )
    own = ("PROMPT", "TRAINER", "OUTPUT_DIR")
    assert {k: v for k, v in cfg.items() if k not in own} == {
        k: v for k, v in other.items() if k not in own
    }
    assert (cfg.PROMPT.NAME, cfg.TRAINER.NAME, cfg.SEED) == (learner, "promptsrc", 3)
    own = yaml.safe_load((ROOT / "configs" / learner / "tiny.yaml").read_text())["PROMPT"]
    assert own[learner.upper()].items() <= cfg.PROMPT[learner.upper()].items()
    src = yaml.safe_load((ROOT / "configs" / "promptsrc" / "tiny.yaml").read_text())["TRAINER"]
    assert src["PROMPTSRC"].items() <= cfg.TRAINER.PROMPTSRC.items()


@pytest.mark.parametrize("file", ["results.json", "config.yaml"])
def test_a_damaged_run_is_said(file, said, finished, tmp_path):
    finished(tmp_path, "coop", "erm", 1, 60.0, 40.0)
    broken = finished(tmp_path, "coop", "erm", 2, 70.0, 50.0)
    (broken / file).write_text('{"results": {"a": {}, "b": {}}}')
    words = ["--learners", "coop", "--trainers", "erm", "--seeds", 1, 2]
    status, table, errors = said("--table", "--output-dir", tmp_path, *words)
    if file == "results.json":  # its numbers are left out, the others stand
        assert status == 1 and f"**Left out: {broken}/results.json is damaged: results" in table
        assert "60.0 / 40.0 / 48.0 (seed 1 only)" in table
    else:  # whether its numbers may stand in the table is not known
        assert status == 2 and str(broken / file) in errors and errors.count("\n") == 1


def test_a_trainer_with_files_by_learner_has_these_or_its_defaults(tmp_path):
    (tmp_path / "kgcoop").mkdir()
    for name, weight in (("coop_tiny", 3), ("tiny", 5)):
        text = f"TRAINER: {{NAME: kgcoop, KGCOOP: {{WEIGHT: {weight}}}}}\n"
        text += "PROMPT: {NAME: coop}\nDATASET: {NAME: shapes}\n"
        (tmp_path / "kgcoop" / f"{name}.yaml").write_text(text)

    def weight(learner: str) -> float:
        plan = Matrix(tmp_path, configs=tmp_path)
        return plan.configuration(run_of(tmp_path, learner, "kgcoop", 1)).TRAINER.KGCOOP.WEIGHT

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
        (["--seeds", "-1"], "argument --seeds: -1 is less than 0"),
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


def test_a_failing_cell_stops_no_other_and_is_repeated(
    said, in_process, plugin_file, monkeypatch, tmp_path
):
    in_process()
    monkeypatch.setenv("BROKEN", "yes")
    file = plugin_file(PLUGIN)
    asked = ["--output-dir", tmp_path / "out", "--learners", "coop", "--trainers", "mine", "erm"]
    asked += ["--seeds", 1, "--jobs", 1, *QUICK, "PLUGINS", file]
    status, out, errors = said(*asked)
    assert status == 1
    report = tmp_path / "out" / ".sweep" / "coop" / "mine" / "seed1" / "error.txt"
    error = f"coop under mine, seed 1: the shapes do not fit (see {report}), attempt 2 of 2"
    assert errors == f"\n1 of 3 cells failed:\n  {error}\n"
    assert "coop under mine, seed 1: FAILED: the shapes do not fit (see " in out
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
    assert "3 cells, 2 of them finished already" in out
    assert "[1/1] coop under mine" in out
    after = results(tmp_path / "out")
    assert before.items() < after.items()
    mine, erm = (list(after[f"coop/{trainer}/seed1"].values()) for trainer in ("mine", "erm"))
    assert mine == erm
    assert not report.exists()


@pytest.mark.slow
def test_a_killed_matrix_leaves_no_process_and_goes_on(said, in_process, caplog, tmp_path):
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
    in_process()
    with caplog.at_level(logging.INFO, "softprompt"):  # as a worker has it
        status, printed, errors = said(*asked)
    assert (status, errors) == (0, "")
    assert "2 cells, 1 of them finished already" in printed
    assert "resuming after epoch" in (cell / "log.txt").read_text()

    alone = tmp_path / "alone"
    train(load_config(str(cell / "config.yaml"), flags={"OUTPUT_DIR": str(alone)}))
    assert losses(cell) == losses(alone)


def test_an_interrupted_matrix_says_how_to_go_on(said, monkeypatch, tmp_path):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Engine, "workers", interrupted)
    status, _, errors = said("--output-dir", tmp_path, "--learners", "coop", "--seeds", 1, *QUICK)
    assert status == 130
    assert errors == "interrupted; the same command goes on\n"


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
