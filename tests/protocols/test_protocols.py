"""The protocol tools: which runs they start, skip and name, and what they print."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import sweep  # tools/ is on the path

from softprompt.core.protocols.cells import EVALUATE, TRAIN, Cell

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "tools"
COOP = "configs/coop/tiny.yaml"
SCORE = {"accuracy": 50.0, "images": 1, "classes": 2}
RESULTS = {
    "results": {"coop under erm": {name: SCORE for name in ("base", "new", "all")}},
    "warnings": [],
    "split": {"note": ""},
    "sampled": {},
    "config": {},
}

# Stands in for the interpreter: notes its arguments.
FAKE = """#!/usr/bin/env bash
printf '%q ' "$@" > "$HERE/call"
exit 3
"""


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    here = tmp_path / "a folder"
    here.mkdir()
    (here / "python").write_text(FAKE)
    (here / "python").chmod(0o755)
    monkeypatch.chdir(here)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return here


@pytest.fixture
def protocol(here, in_process, finish, capsys, monkeypatch):
    """Run a tool and the sweep that it starts, on workers that write results but for ``fail``.

    Return the exit code, the cells that were run, the output and the errors.
    """

    def protocol(tool: str, *arguments: str, fail: str = "no folder", **environment: str):
        def work(cell: dict) -> dict:
            if fail in cell["folder"]:
                return {"state": "refused", "error": "it broke"}
            ran.append(Cell(**cell))
            return finish(cell, RESULTS)

        ran: list[Cell] = []
        in_process(work)
        monkeypatch.setattr("softprompt.core.protocols.data.check_data", lambda cells: None)
        status = sweep.main(call(here, tool, *arguments, **environment)[1:])
        return status, ran, *capsys.readouterr()

    return protocol


def call(here: Path, tool: str, *arguments: str, **environment: str) -> list[str]:
    """Return the words that a tool hands to the interpreter, by whose exit code it ends."""
    done = subprocess.run(
        [str(TOOLS / tool), *arguments],
        env=os.environ | {"PYTHON": f"{here}/python", "HERE": str(here)} | environment,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "")
    words = shlex.split((here / "call").read_text())
    assert words[0] == f"{TOOLS}/sweep.py"
    return words


def folders(cells: list[Cell]) -> list[str]:
    return [str(Path(cell.folder).relative_to(Path.cwd())) for cell in cells]


def test_base_to_new_runs_every_dataset_and_seed(protocol, here):
    status, runs, out, errors = protocol("base2new.sh", COOP, "eurosat", "dtd", ROOT="my data")
    assert (status, errors) == (0, "")
    assert sorted(folders(runs)) == [
        f"output/base2new/coop/tiny/{dataset}/shots_16/seed_{seed}"
        for dataset in ("dtd", "eurosat")
        for seed in (1, 2, 3)
    ]
    assert "base to new classes: coop/tiny, 16 shots, mean over the seeds 1 2 3" in out
    first = runs[0]
    assert first.runner == TRAIN
    assert first.config_file == f"{ROOT}/{COOP}"
    assert first.dataset_file == f"{ROOT}/configs/datasets/eurosat.yaml"
    assert first.flags == {
        "OUTPUT_DIR": first.folder,
        "SEED": 1,
        "DATASET.ROOT": str(here / "my data"),
        "DATASET.NUM_SHOTS": 16,
        "DATASET.SUBSAMPLE_CLASSES": "base",
        "TEST.CLASSES": "(base, new)",
    }


def test_runs_may_share_a_folder_of_features(protocol, here):
    _, runs, *_ = protocol("base2new.sh", COOP, "dtd", SEEDS="1 2", CACHE="my cache")
    assert [run.flags["CACHE.DIR"] for run in runs] == [str(here / "my cache")] * 2
    assert folders(runs)[0] == "output/base2new/coop/tiny/dtd/shots_16/seed_1"
    _, (run,), *_ = protocol("base2new.sh", COOP, "dtd", SEEDS="3")
    assert "CACHE.DIR" not in run.flags


def test_few_shots_of_all_classes(protocol):
    _, runs, *_ = protocol("few_shot.sh", COOP, "eurosat", SEEDS="5")
    assert folders(runs) == [
        f"output/few_shot/coop/tiny/eurosat/shots_{shots}/seed_5" for shots in (1, 2, 4, 8, 16)
    ]
    assert [run.flags["DATASET.NUM_SHOTS"] for run in runs] == [1, 2, 4, 8, 16]
    assert {run.flags["TEST.CLASSES"] for run in runs} == {"(all,)"}
    _, runs, *_ = protocol("few_shot.sh", COOP, "eurosat", SHOTS="3", SEEDS="1 2", OUTPUT="o 2")
    assert folders(runs) == [
        f"o 2/few_shot/coop/tiny/eurosat/shots_3/seed_{seed}" for seed in (1, 2)
    ]


@pytest.mark.parametrize(
    ("environment", "jobs", "threads"),
    [({}, 1, 0), ({"JOBS": "4", "OMP_NUM_THREADS": "2"}, 4, 2)],
)
def test_runs_at_a_time_and_threads(environment, jobs, threads, here):
    given = sweep.parse(call(here, "base2new.sh", COOP, "dtd", **environment)[1:])
    assert (given.jobs, given.threads, given.engine) == (jobs, threads, "local")


def test_what_is_finished_is_skipped_and_nothing_else(protocol, here):
    _, runs, *_ = protocol("base2new.sh", COOP, "eurosat")
    unfinished = here / folders(runs)[1]
    (unfinished / "results.json").unlink()
    (unfinished / "log.txt").write_text("cut off")
    _, again, out, _ = protocol("base2new.sh", COOP, "eurosat")
    assert folders(again) == [folders(runs)[1]]
    assert "3 cells, 2 of them finished already" in out
    assert "mean over the seeds 1 2 3" in out and "INCOMPLETE" not in out


def test_a_failed_run_is_named_after_the_others_are_run(protocol, here):
    broken = "eurosat/shots_16"
    status, runs, out, errors = protocol("base2new.sh", COOP, "eurosat", "dtd", fail=broken)
    assert status == 1
    assert len(runs) == 3 and "INCOMPLETE" in out
    assert "3 of 6 cells failed:" in errors
    for seed in (1, 2, 3):
        assert f"base2new/coop/tiny/eurosat/shots_16/seed_{seed}: it broke" in errors
    assert "/dtd/" not in errors
    status, runs, *_ = protocol("base2new.sh", COOP, "eurosat", "dtd")
    assert status == 0
    assert len(runs) == 3


def test_transfer_evaluates_what_was_trained_on_the_source(protocol):
    arguments = [COOP, "shapes", "shapes_sketch", "shapes_v2"]
    _, runs, out, _ = protocol("domain_generalization.sh", *arguments, SEEDS="1 2")
    place = "output/transfer/coop/tiny/shapes/shots_16/seed_{}"
    assert sorted(folders(runs)) == [
        place.format(seed) + suffix
        for seed in (1, 2)
        for suffix in ("", "/eval/shapes_sketch", "/eval/shapes_v2")
    ]
    assert "domain shift from shapes: coop/tiny" in out
    by_folder = dict(zip(folders(runs), runs, strict=True))
    trained = by_folder[place.format(1)]
    evaluated = by_folder[place.format(1) + "/eval/shapes_sketch"]
    assert trained.dataset_file.endswith("/shapes.yaml")
    assert trained.runner == TRAIN
    assert evaluated.dataset_file.endswith("/shapes_sketch.yaml")
    assert (evaluated.runner, evaluated.model_dir) == (EVALUATE, trained.folder)
    for cell in (trained, evaluated):
        assert cell.flags["DATASET.SUBSAMPLE_CLASSES"] == "all"
        assert cell.flags["TEST.CLASSES"] == "(all,)"
    # The other protocol's prompts are the same, so they are not trained again.
    _, runs, *_ = protocol("cross_dataset.sh", COOP, "shapes", "patterns", SEEDS="1 2")
    assert folders(runs) == [place.format(seed) + "/eval/patterns" for seed in (1, 2)]


def test_targets_of_a_source_that_failed_are_missing_from_the_table(protocol):
    status, runs, out, errors = protocol("cross_dataset.sh", COOP, "shapes", "dtd", fail="seed_2")
    assert status == 1
    assert len(runs) == 4
    assert "INCOMPLETE: shapes on dtd, 16 shots, seed 2: no results.json" in out
    assert "2 of 6 cells failed" in errors
    assert "seed_2/eval/dtd: not run, for the run that it depends on failed" in errors


def test_pairs_come_last_and_have_a_folder_of_their_own(protocol):
    pairs = ["SEED", "9", "MODEL.BACKBONE.PRETRAINED", "", "PROMPT.COOP.CTX_INIT", "it's a/b"]
    _, (run,), *_ = protocol("base2new.sh", COOP, "eurosat", "--", *pairs, SEEDS="1")
    assert run.pairs == tuple(pairs)
    assert run.configuration().SEED == 9
    name = "tiny,SEED=9,MODEL.BACKBONE.PRETRAINED=,PROMPT.COOP.CTX_INIT=it_s_a_b"
    assert folders([run]) == [f"output/base2new/coop/{name}/eurosat/shots_16/seed_1"]
    _, (run,), *_ = protocol("base2new.sh", COOP, "eurosat", SEEDS="1")
    assert folders([run]) == ["output/base2new/coop/tiny/eurosat/shots_16/seed_1"]


def test_files_of_ones_own_with_spaces_in_their_names(protocol, here):
    config = here / "my methods" / "mine.yaml"
    config.parent.mkdir()
    config.write_text(f"_BASE_: {ROOT}/{COOP}\n")
    (here / "my pictures.yaml").write_text("DATASET: {NAME: folder}\n")
    arguments = ["my methods/mine.yaml", "my pictures.yaml"]
    status, (run,), *_ = protocol("base2new.sh", *arguments, SEEDS="1")
    assert status == 0
    assert (run.config_file, run.dataset_file) == (str(config), str(here / "my pictures.yaml"))
    assert folders([run]) == ["output/base2new/my methods/mine/my pictures/shots_16/seed_1"]


def test_clip_without_training_is_only_evaluated(protocol):
    config = "configs/zeroshot/tiny.yaml"
    _, runs, *_ = protocol("cross_dataset.sh", config, "shapes", "patterns", SEEDS="1")
    assert [(run.runner, run.model_dir) for run in runs] == [(EVALUATE, "")] * 2
    assert [Path(folder).name for folder in folders(runs)] == ["seed_1", "patterns"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "no config file ''"),
        (["nowhere.yaml", "dtd"], "no config file 'nowhere.yaml'"),
        ([COOP], "base2new needs at least one dataset"),
        ([COOP, "dtt"], "no dataset 'dtt'; did you mean 'dtd'?"),
        ([COOP, "dtd", "SEED", "2"], "no dataset 'SEED'"),
        ([COOP, "dtd", "--", "SEED"], "'SEED' is left over"),
    ],
)
def test_a_mistake_is_one_line_and_runs_nothing(protocol, arguments, says):
    status, runs, _, errors = protocol("base2new.sh", *arguments)
    assert status == 2
    assert says in errors and errors.count("\n") == 1
    assert not runs


@pytest.mark.parametrize("tool", ["cross_dataset.sh", "domain_generalization.sh"])
def test_transfer_needs_a_target(protocol, tool):
    status, _, _, errors = protocol(tool, COOP, "shapes")
    assert status == 2 and "needs a source and at least one target dataset" in errors


TOOL_NAMES = ["base2new.sh", "few_shot.sh", "cross_dataset.sh", "domain_generalization.sh"]


@pytest.mark.parametrize("tool", TOOL_NAMES)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help(here, tool, flag):
    environment = os.environ | {"PYTHON": f"{here}/python", "HERE": str(here)}
    done = subprocess.run(
        [str(TOOLS / tool), flag], env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert not (here / "call").exists()
    assert f"tools/{tool} CONFIG" in done.stdout
    for word in ("SEEDS", "SHOTS", "ROOT", "OUTPUT", "JOBS", "KEY VALUE", "results.json"):
        assert word in done.stdout


@pytest.mark.slow
def test_a_protocol_end_to_end(tmp_path):
    """Real runs: prompts of one dataset, evaluated on another one of other classes."""
    quick = ["DATALOADER.TRAIN_X.BATCH_SIZE", "40", "OPTIM.MAX_EPOCH", "1", "TEST.MAX_IMAGES", "10"]
    random = ["MODEL.BACKBONE.PRETRAINED", ""]
    command = [str(TOOLS / "cross_dataset.sh"), COOP, "shapes", "patterns", "--", *random, *quick]
    environment = {"PYTHON": sys.executable, "SEEDS": "4", "SHOTS": "2", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    (file,) = tmp_path.glob(
        "output/transfer/coop/*/shapes/shots_2/seed_4/eval/patterns/results.json"
    )
    found = json.loads(file.read_text())
    assert (found["dataset"], found["seed"]) == ("patterns", 4)
    assert found["results"]["coop under erm"]["all"]["images"] == 10
    table = done.stdout[done.stdout.index("transfer from shapes") :]
    assert [line.split()[0] for line in table.splitlines()[4:6]] == ["shapes", "patterns"]
    assert "patterns: tested on 10 of 600 images (all)" in table
    assert "RANDOM WEIGHTS" in table
