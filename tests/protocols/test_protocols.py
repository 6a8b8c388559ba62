"""The protocol tools: which runs they start, skip and name, and what they print."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

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

# Stands in for the interpreter: notes its arguments and leaves results, but for folders in $FAIL.
FAKE = """#!/usr/bin/env bash
printf '%q ' "$@" >> "$HERE/calls"
echo >> "$HERE/calls"
[[ $1 == */report.py ]] && exit
while (($#)); do
    case $1 in --resume | --output-dir) folder=$2 ;; esac
    shift
done
[[ $FAIL && $folder == *$FAIL* ]] && exit 3
mkdir -p "$folder" && cp "$HERE/results.json" "$folder/results.json"
"""


@pytest.fixture
def here(tmp_path) -> Path:
    here = tmp_path / "a folder"
    here.mkdir()
    (here / "results.json").write_text(json.dumps(RESULTS))
    (here / "python").write_text(FAKE)
    (here / "python").chmod(0o755)
    return here


@pytest.fixture
def protocol(here):
    """Run a tool on the stand-in; return what it did and the argument lists of its calls."""

    def protocol(tool: str, *arguments: str, **environment: str):
        (here / "calls").write_text("")
        done = subprocess.run(
            [str(TOOLS / tool), *arguments],
            cwd=here,
            env=os.environ | {"PYTHON": f"{here}/python", "HERE": str(here)} | environment,
            capture_output=True,
            text=True,
        )
        return done, [shlex.split(line) for line in (here / "calls").read_text().splitlines()]

    return protocol


def after(call: list[str], flag: str) -> str:
    return call[call.index(flag) + 1]


def folders(calls: list[list[str]]) -> list[str]:
    return [after(call, "--resume" if "--resume" in call else "--output-dir") for call in calls]


def test_base_to_new_runs_every_dataset_and_seed(protocol):
    done, (*runs, report) = protocol("base2new.sh", COOP, "eurosat", "dtd", ROOT="my data")
    assert (done.returncode, done.stderr) == (0, "")
    assert folders(runs) == [
        f"output/base2new/coop/tiny/{dataset}/shots_16/seed_{seed}"
        for dataset in ("eurosat", "dtd")
        for seed in (1, 2, 3)
    ]
    assert report == [f"{TOOLS}/report.py", *folders(runs)]
    first = runs[0]
    assert first[0] == f"{TOOLS}/train.py"
    assert after(first, "--config-file") == f"{ROOT}/{COOP}"
    assert after(first, "--dataset-config-file") == f"{ROOT}/configs/datasets/eurosat.yaml"
    assert (after(first, "--root"), after(first, "--seed")) == ("my data", "1")
    assert after(first, "DATASET.NUM_SHOTS") == "16"
    assert after(first, "DATASET.SUBSAMPLE_CLASSES") == "base"
    assert after(first, "TEST.CLASSES") == "(base, new)"


def test_runs_may_share_a_folder_of_features(protocol):
    _, (*runs, _) = protocol("base2new.sh", COOP, "dtd", SEEDS="1 2", CACHE="my cache")
    assert [after(run, "CACHE.DIR") for run in runs] == ["my cache"] * 2
    assert folders(runs)[0] == "output/base2new/coop/tiny/dtd/shots_16/seed_1"
    _, (*runs, _) = protocol("base2new.sh", COOP, "dtd", SEEDS="3")
    assert "CACHE.DIR" not in runs[0]


def test_few_shots_of_all_classes(protocol):
    done, (*runs, _) = protocol("few_shot.sh", COOP, "eurosat", SEEDS="5")
    assert folders(runs) == [
        f"output/few_shot/coop/tiny/eurosat/shots_{shots}/seed_5" for shots in (1, 2, 4, 8, 16)
    ]
    assert [after(run, "DATASET.NUM_SHOTS") for run in runs] == ["1", "2", "4", "8", "16"]
    assert {after(run, "TEST.CLASSES") for run in runs} == {"(all,)"}
    _, (*runs, _) = protocol("few_shot.sh", COOP, "eurosat", SHOTS="3", SEEDS="1 2", OUTPUT="o 2")
    assert folders(runs) == [
        f"o 2/few_shot/coop/tiny/eurosat/shots_3/seed_{seed}" for seed in (1, 2)
    ]


def test_what_is_finished_is_skipped_and_nothing_else(protocol, here):
    _, (*runs, _) = protocol("base2new.sh", COOP, "eurosat")
    unfinished = here / folders(runs)[1]
    (unfinished / "results.json").unlink()
    (unfinished / "log.txt").write_text("cut off")
    done, (*again, report) = protocol("base2new.sh", COOP, "eurosat")
    assert folders(again) == [folders(runs)[1]]
    assert done.stdout.count("finished already") == 2
    assert len(report) == 1 + 3


def test_a_failed_run_is_named_after_the_others_are_run(protocol, here):
    done, (*runs, report) = protocol("base2new.sh", COOP, "eurosat", "dtd", FAIL="eurosat/shots_16")
    assert done.returncode == 1
    assert len(runs) == 6 and len(report) == 7
    assert "3 of 6 runs failed:" in done.stderr
    assert all(folder in done.stderr for folder in folders(runs)[:3])
    assert "/dtd/" not in done.stderr
    done, (*runs, _) = protocol("base2new.sh", COOP, "eurosat", "dtd")
    assert done.returncode == 0
    assert len(runs) == 3


def test_transfer_evaluates_what_was_trained_on_the_source(protocol):
    arguments = [COOP, "shapes", "shapes_sketch", "shapes_v2"]
    done, (*calls, report) = protocol("domain_generalization.sh", *arguments, SEEDS="1 2")
    place = "output/transfer/coop/tiny/shapes/shots_16/seed_{}"
    assert folders(calls) == [
        place.format(seed) + suffix
        for seed in (1, 2)
        for suffix in ("", "/eval/shapes_sketch", "/eval/shapes_v2")
    ]
    assert report[1:] == folders(calls)
    trained, evaluated, _ = calls[:3]
    assert after(trained, "--dataset-config-file").endswith("/shapes.yaml")
    assert "--eval-only" not in trained
    assert after(evaluated, "--dataset-config-file").endswith("/shapes_sketch.yaml")
    assert "--eval-only" in evaluated and after(evaluated, "--model-dir") == place.format(1)
    for call in (trained, evaluated):
        assert after(call, "DATASET.SUBSAMPLE_CLASSES") == "all"
        assert after(call, "TEST.CLASSES") == "(all,)"
    # The other protocol's prompts are the same, so they are not trained again.
    _, (*calls, _) = protocol("cross_dataset.sh", COOP, "shapes", "patterns", SEEDS="1 2")
    assert folders(calls) == [place.format(seed) + "/eval/patterns" for seed in (1, 2)]


def test_targets_of_a_source_that_failed_are_missing_from_the_table(protocol):
    done, (*calls, report) = protocol("cross_dataset.sh", COOP, "shapes", "dtd", FAIL="seed_2")
    assert done.returncode == 1
    assert len(calls) == 5
    assert len(report) == 1 + 6
    assert "1 of 6 runs failed" in done.stderr


def test_pairs_come_last_and_have_a_folder_of_their_own(protocol, here):
    pairs = ["SEED", "9", "MODEL.BACKBONE.PRETRAINED", "", "PROMPT.COOP.CTX_INIT", "it's a/b"]
    _, (run, _) = protocol("base2new.sh", COOP, "eurosat", "--", *pairs, SEEDS="1")
    assert run[-6:] == pairs
    name = "tiny,SEED=9,MODEL.BACKBONE.PRETRAINED=,PROMPT.COOP.CTX_INIT=it_s_a_b"
    assert after(run, "--resume") == f"output/base2new/coop/{name}/eurosat/shots_16/seed_1"
    _, (plain, _) = protocol("base2new.sh", COOP, "eurosat", SEEDS="1")
    assert after(plain, "--resume") == "output/base2new/coop/tiny/eurosat/shots_16/seed_1"
    names = set()
    for last in "ab":
        long = [word for n in range(30) for word in (f"OPTIM.KEY{n}", f"value{n}{last}")]
        _, (run, _) = protocol("base2new.sh", COOP, "eurosat", "--", *long, SEEDS="1")
        names.add(Path(after(run, "--resume")).parts[3])
    assert len(names) == 2 and max(map(len, names)) < 150


def test_files_of_ones_own_with_spaces_in_their_names(protocol, here):
    config = here / "my methods" / "mine.yaml"
    config.parent.mkdir()
    config.write_text(f"_BASE_: {ROOT}/{COOP}\n")
    (here / "my pictures.yaml").write_text("DATASET: {NAME: folder}\n")
    arguments = ["my methods/mine.yaml", "my pictures.yaml"]
    done, (run, _) = protocol("base2new.sh", *arguments, SEEDS="1")
    assert done.returncode == 0
    assert after(run, "--config-file") == str(config)
    assert after(run, "--dataset-config-file") == str(here / "my pictures.yaml")
    folder = "output/base2new/my methods/mine/my pictures/shots_16/seed_1"
    assert after(run, "--resume") == folder
    assert (here / folder / "results.json").is_file()


def test_clip_without_training_is_only_evaluated(protocol):
    config = "configs/zeroshot/tiny.yaml"
    _, calls = protocol("cross_dataset.sh", config, "shapes", "patterns", SEEDS="1")
    assert all("--eval-only" in call and "--model-dir" not in call for call in calls[:2])
    assert [Path(folder).name for folder in folders(calls[:2])] == ["seed_1", "patterns"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "no config file ''"),
        (["nowhere.yaml", "dtd"], "no config file 'nowhere.yaml'"),
        ([COOP], "1 dataset(s) are needed"),
        ([COOP, "dtt"], "no dataset 'dtt'"),
        ([COOP, "dtd", "SEED", "2"], "no dataset 'SEED' (KEY VALUE pairs follow after --)"),
        ([COOP, "dtd", "--", "SEED"], "SEED has a word left over"),
    ],
)
def test_a_mistake_is_one_line_and_runs_nothing(protocol, arguments, says):
    done, calls = protocol("base2new.sh", *arguments)
    assert done.returncode == 2
    assert says in done.stderr and done.stderr.count("\n") == 1
    assert not calls


def test_an_interrupt_ends_it_all(here):
    """As Ctrl-C does: the run ends orderly, and no further one begins."""
    (here / "python").write_text(
        "#!/usr/bin/env bash\ntrap 'exit 130' INT\necho run >> calls\nwhile :; do sleep 0.1; done\n"
    )
    process = subprocess.Popen(
        [str(TOOLS / "base2new.sh"), COOP, "eurosat"],
        cwd=here,
        env=os.environ | {"PYTHON": f"{here}/python"},
        start_new_session=True,
        # What a shell starts in the background ignores SIGINT, and so would all that it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        stdout=subprocess.DEVNULL,
    )
    while not (here / "calls").exists():
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=300) == 130
    assert (here / "calls").read_text() == "run\n"


@pytest.mark.parametrize("tool", ["cross_dataset.sh", "domain_generalization.sh"])
def test_transfer_needs_a_target(protocol, tool):
    done, _ = protocol(tool, COOP, "shapes")
    assert done.returncode == 2 and "2 dataset(s) are needed" in done.stderr


TOOL_NAMES = ["base2new.sh", "few_shot.sh", "cross_dataset.sh", "domain_generalization.sh"]


@pytest.mark.parametrize("tool", TOOL_NAMES)
def test_help(protocol, tool):
    done, calls = protocol(tool, "--help")
    assert (done.returncode, calls) == (0, [])
    assert f"tools/{tool} CONFIG" in done.stdout
    for word in ("SEEDS", "SHOTS", "ROOT", "OUTPUT", "KEY VALUE", "results.json"):
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
