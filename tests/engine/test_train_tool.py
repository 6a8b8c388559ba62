"""``tools/train.py`` as users meet it: whole runs, resuming, evaluation, and their mistakes."""

import importlib.util
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import save_file

from softprompt.core.base.errors import UserError
from softprompt.core.clip.prompted import PromptedCLIP
from softprompt.core.config.load import load_config
from softprompt.core.engine.build import build_learner
from softprompt.core.engine.prompt_file import prompt_header
from softprompt.core.engine.trained import WarmStart
from softprompt.core.engine.trainer import Trainer

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "train.py"
QUICK = ["DATASET.NUM_SHOTS", "2", "OPTIM.MAX_EPOCH", "2", "TEST.MAX_IMAGES", "20"]
RANDOM = ["MODEL.BACKBONE.PRETRAINED", ""]


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("train_tool", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def config(method: str, size: str = "tiny") -> list[str]:
    return ["--config-file", str(ROOT / "configs" / method / f"{size}.yaml")]


@pytest.fixture
def run(tool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*arguments) -> int:
        return tool.main([*map(str, arguments)])

    return run


@pytest.fixture(scope="module")
def trained_once(tool, tmp_path_factory):
    """Train a method once for all tests; return the run's folder."""
    runs: dict[str, Path] = {}

    def trained_once(method: str) -> Path:
        if method not in runs:
            runs[method] = tmp_path_factory.mktemp(method) / "run"
            arguments = [*config(method), *RANDOM, *QUICK, "--output-dir", str(runs[method])]
            assert tool.main(arguments) == 0
        return runs[method]

    return trained_once


@pytest.fixture
def trained(trained_once, tmp_path):
    """Copy a run of a method to ``tmp_path / "run"``, to do anything with it."""
    return lambda method: shutil.copytree(trained_once(method), tmp_path / "run")


@pytest.fixture
def mistake(run, capsys):
    """Run what must fail; return the one line it says."""

    def mistake(*arguments) -> str:
        assert run(*arguments) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: ")
        assert said.count("\n") == 1
        return said

    return mistake


def results(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


def test_a_run_leaves_what_it_says(run, tmp_path):
    out = tmp_path / "run"
    assert run(*QUICK, *config("ivlp"), *RANDOM, "--output-dir", out, "--seed", 0) == 0
    assert {"config.yaml", "log.txt", "metrics.jsonl", "tensorboard", "checkpoints"} < {
        place.name for place in out.iterdir()
    }
    assert (out / "log.txt").read_text().count("fast paths: text ragged in 1 chunk, ") == 1
    found = results(out)
    assert found["seed"] == 0
    assert set(found["results"]) == {"zero-shot CLIP", "ivlp under erm"}
    scores = found["results"]["ivlp under erm"]
    assert scores["base"]["images"] == 20
    assert {"accuracy", "macro_f1", "ece", "per_class"} <= set(scores["new"])
    base, new = scores["base"]["accuracy"], scores["new"]["accuracy"]
    expected = 2 * base * new / (base + new) if base + new else 0
    assert found["harmonic_mean"]["ivlp under erm"] == pytest.approx(expected)
    assert found["sampled"]["base"] == "20 of 600 images"
    assert "RANDOM WEIGHTS" in found["warnings"][0]
    assert found["environment"]["versions"]["torch"]
    assert found["trained_parameters"] == 4 * 2 * (128 + 192) or found["trained_parameters"] > 0
    assert found["peak_memory"]["process"] > 1e6 and "gpu" in found["peak_memory"]
    assert [file.name for file in (out / "checkpoints").rglob("*") if file.is_file()] == [
        "prompts.safetensors"
    ]
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(len(lines)))
    assert len(lines) == 2 * 5


def test_every_default_folder_is_new(run, tmp_path):
    for _ in range(2):
        assert run(*config("vpt"), *RANDOM, *QUICK, "OPTIM.MAX_EPOCH", 1) == 0
    assert len(list(tmp_path.glob("output/**/results.json"))) == 2


def test_evaluating_a_run_trains_nothing(run, trained, tmp_path):
    out = trained("coop")
    before = sorted(place for place in out.rglob("*"))
    evaluate = [*config("coop"), *RANDOM, *QUICK, "--eval-only", "--model-dir", out]
    assert run("DATASET.SUBSAMPLE_CLASSES", "new", *evaluate) == 0
    found = results(out / "eval" / "shapes-new")
    trained = results(out)["results"]["coop under erm"]["new"]
    assert found["results"]["coop under erm"]["new"] == trained
    assert set(found["results"]["coop under erm"]) == {"new"}
    left = {place for place in out.rglob("*") if "eval" not in place.parts}
    assert left == set(before)
    assert run(*evaluate, "--output-dir", tmp_path / "elsewhere", "DATASET.NAME", "patterns") == 0
    assert results(tmp_path / "elsewhere")["dataset"] == "patterns"


def test_a_run_knows_its_own_configuration(run, trained):
    out = trained("vpt")
    assert run("--resume", out) == 0
    assert run("--eval-only", "--model-dir", out, "DATASET.SUBSAMPLE_CLASSES", "new") == 0
    assert set(results(out / "eval" / "shapes-new")["results"]["vpt under erm"]) == {"new"}


def test_the_generalized_setting_is_an_option(run, tmp_path):
    out = tmp_path / "run"
    arguments = [*config("coop"), *RANDOM, *QUICK]
    classes = ["TEST.CLASSES", "(base, new, generalized)"]
    assert run(*arguments, *classes, "--output-dir", out) == 0
    found = results(out)["results"]["coop under erm"]
    assert list(found) == ["base", "new", "generalized"]
    apart = found["generalized"]
    assert apart["classes"] == found["base"]["classes"] + found["new"]["classes"]
    assert apart["base"]["images"] + apart["new"]["images"] == apart["images"] == 20
    assert apart["base"]["accuracy"] <= 100 and "harmonic_mean" in apart
    # Evaluated anew, one gets it by asking for it.
    again = ["--eval-only", "--model-dir", out, "TEST.CLASSES", "(generalized,)"]
    assert run(*arguments, *again) == 0
    evaluated = results(out / "eval" / "shapes-generalized")["results"]["coop under erm"]
    assert evaluated == {"generalized": apart}


def test_an_evaluation_that_was_cut_off_starts_anew(run, mistake, trained, tmp_path):
    out, place = trained("coop"), tmp_path / "evaluated"
    arguments = [*config("coop"), *RANDOM, *QUICK]
    evaluate = [*arguments, "--eval-only", "--model-dir", out, "--output-dir", place]
    assert run(*evaluate) == 0
    whole = results(place)["results"]
    (place / "results.json").unlink()
    assert "SEED 1, not 2" in mistake(*evaluate, "SEED", 2)
    assert run(*evaluate) == 0
    assert results(place)["results"] == whole
    assert "holds another run" in mistake(*evaluate)
    # Given as both, the run's folder is evaluated below it, and the run is as it was.
    before = (out / "results.json").read_bytes()
    on_top = [*arguments, "--eval-only", "--model-dir", out, "--output-dir", out]
    assert run(*on_top) == 0
    assert (out / "results.json").read_bytes() == before
    assert results(out / "eval" / "shapes-base")["results"] == whole


def test_zero_shot_needs_no_run(run, tmp_path):
    out = tmp_path / "zero"
    assert run("--eval-only", *config("zeroshot"), *RANDOM, *QUICK, "--output-dir", out) == 0
    assert set(results(out)["results"]) == {"zero-shot CLIP", "zeroshot"}


def test_training_what_has_nothing_to_train_is_one_line(mistake, tmp_path):
    out = tmp_path / "zero"
    said = mistake(*config("zeroshot"), *RANDOM, *QUICK, "--output-dir", out)
    assert "has nothing to train, no nn.Parameter; evaluate it with --eval-only, or choose" in said
    assert not out.exists()


def lines_of(folder: Path) -> int:
    """The number of steps that a run has recorded."""
    file = folder / "metrics.jsonl"
    return file.read_text().count("\n") if file.exists() else 0


@pytest.mark.slow
def test_a_killed_run_resumes_bit_for_bit(run, tmp_path):
    """Killed, resumed, killed again and resumed, against the same run undisturbed."""
    few = ["DATASET.NUM_SHOTS", "2", "OPTIM.MAX_EPOCH", "4", "TEST.MAX_IMAGES", "20"]
    arguments = [*config("prometar"), *RANDOM, *few]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert run(*arguments, "--output-dir", whole) == 0
    steps = lines_of(whole)
    assert steps == 4 * 5
    for share in (0.4, 0.7):
        command = [sys.executable, str(TOOL), *arguments, "--resume", str(cut)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while lines_of(cut) < share * steps and process.poll() is None:
            time.sleep(0.01)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        assert not (cut / "results.json").exists()
    assert run(*arguments, "--output-dir", cut, "--resume") == 0
    same = ["metrics.jsonl", "checkpoints/epoch-4/prompts.safetensors"]
    for name in same:
        assert (whole / name).read_bytes() == (cut / name).read_bytes(), name
    assert results(whole)["results"] == results(cut)["results"]
    assert not list(cut.rglob("resume.pt"))
    assert run(*arguments, "--output-dir", cut, "--resume") == 0  # finished already


def test_an_occupied_folder_is_refused(run, mistake, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    assert "holds another run" in mistake(*config("vpt"), *RANDOM, *QUICK, "--output-dir", out)
    assert [file.name for file in out.iterdir()] == ["notes.txt"]


def test_resuming_another_run_is_refused(mistake, trained):
    arguments = [*config("vpt"), *RANDOM, *QUICK, "--output-dir", trained("vpt")]
    assert "SEED 1, not 2" in mistake(*arguments, "--resume", "SEED", 2)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["TRAINER.NAME", "prometr"], "no trainer named 'prometr'; did you mean 'prometar'?"),
        (["OPTIM.LRR", "1"], "there is no option OPTIM.LRR; did you mean 'LR'?"),
        (["--config-file", "nowhere.yaml"], "no such config file: nowhere.yaml"),
        (["INPUT.SIZE", "(224, 224)"], "INPUT.SIZE is (224, 224)"),
        (["MODEL.BACKBONE.NAME", "ViT-B/17"], "no backbone named 'ViT-B/17'; did you mean"),
        (["PROMPT.IVLP.PROMPT_DEPTH_TEXT", "7"], "PROMPT_DEPTH_TEXT is 7"),
        (["--eval-only"], "--eval-only needs --model-dir RUN"),
        (["--eval-only", "--load-epoch", "1"], "--load-epoch N needs --model-dir RUN"),
        (["--eval-only", "--resume"], "--resume would do nothing beside --eval-only"),
        (["--eval-only", "--init-from", "x"], "--init-from would do nothing beside --eval-only"),
        (["--model-dir", "x"], "--model-dir belongs to --eval-only; to train on"),
        (["--load-epoch", "1"], "--load-epoch belongs to --eval-only; to train on"),
        (["--resume", "a", "--output-dir", "b"], "so --output-dir b would do nothing"),
        (["--init-from", "nowhere"], "/nowhere': there is no such run to start from"),
        (["--output-dir", "/dev/null/x"], "OUTPUT_DIR /dev/null/x lies below /dev/null"),
        (["CACHE.DIR", "/dev/null"], "CACHE.DIR /dev/null is a file"),
        (["--seeds", "-1"], "argument --seed: -1 is less than 0"),
        (["--eval-only", "--model-dir", "nowhere"], "no prompts in nowhere"),
        (["--resume"], "--resume needs the folder of the run"),
        (["INPUT.TRANSFORMS", "(cutout,)"], "INPUT.TRANSFORMS is 'cutout'; it takes"),
        (["TEST.TEMPLATES", "kgcop"], "kgcop"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(arguments, says, mistake, tmp_path):
    said = mistake(*config("ivlp"), *RANDOM, *QUICK, *arguments)
    assert says in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "nothing says what to train: give --config-file FILE, such as python tools/train.py"),
        (["--eval-only"], "--eval-only needs the run to evaluate, --model-dir RUN"),
        (["--eval-only", "--model-dir", "/nope"], "--model-dir /nope: there is no such run"),
        (["--resume", "/nope"], "--resume /nope: there is no such run"),
        (["--resume"], "--resume needs the folder of the run: --resume RUN"),
        (["--resume", "--output-dir", "."], "--resume . holds no config.yaml, so say what it is"),
        (["DATASET.NAME", "shapes"], "nothing says what to train"),
    ],
)
def test_a_command_that_says_too_little_says_what_is_missing(arguments, says, mistake):
    assert says in mistake(*arguments)


def test_the_settings_are_printed_and_nothing_is_written(run, capsys, tmp_path):
    assert run(*config("maple"), "OPTIM.LR", "7", "--print-config") == 0
    (tmp_path / "again.yaml").write_text(printed := capsys.readouterr().out)
    assert "LR: 7.0" in printed
    assert run("--config-file", "again.yaml", "--print-config") == 0
    assert capsys.readouterr().out == printed
    assert [place.name for place in tmp_path.iterdir()] == ["again.yaml"]


def test_a_training_starts_from_the_prompts_of_another_one(run, mistake, trained, tmp_path, capsys):
    """The first step equals that of prompts set by hand; a resumed run says the same."""
    start = trained("coop")
    few = [*config("coop"), *RANDOM, *QUICK, "--init-from", start]
    assert run(*few, "--output-dir", "warm") == 0
    warm = tmp_path / "warm"
    said = results(warm)["train"]["init_from"]
    assert said.startswith(f"{start}/checkpoints/epoch-2/prompts.safetensors, epoch 2, sha256 ")
    assert f"the prompts start from {said}" in (warm / "log.txt").read_text()
    first, cold = (
        json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])["ce"]
        for folder in (warm, start)
    )
    assert first != cold
    assert f"INIT_FROM: {start}" in (warm / "config.yaml").read_text()
    assert results(warm)["config_hash"] != results(start)["config_hash"]

    for change, says in (
        (["PROMPT.NAME", "ivlp"], "was trained with PROMPT.NAME 'coop', not 'ivlp'"),
        (["PROMPT.COOP.N_CTX", "3"], "holds context of shape"),
        (["PROMPT.COOP.CSC", "True", "TEST.CLASSES", "base"], "holds context of shape"),
    ):
        assert says in mistake(*few, "--output-dir", "none", *change)
    assert not (tmp_path / "none").exists()


def test_a_resumed_training_knows_what_it_started_from(run, trained, tmp_path, monkeypatch):
    """It needs the other run no more, which may be gone."""
    few = [*config("coop"), *RANDOM, *QUICK, "--init-from", trained("coop")]
    with monkeypatch.context() as patch:
        patch.setattr("softprompt.core.engine.checkpoint.finish", lambda *_: None)
        assert run(*few, "--output-dir", "warm") == 0
    warm = tmp_path / "warm"
    before = results(warm)
    (warm / "results.json").unlink()
    shutil.rmtree(tmp_path / "run")
    assert run("--resume", "warm") == 0
    assert results(warm)["train"] == before["train"]
    assert results(warm)["results"] == before["results"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, None),
        ({"classnames": ["a", "b"]}, None),
        ({"template": "a photo of {}"}, "the template 'a photo of {}', not 'X X X X {}.'"),
        ({"backbone": {"name": "tiny", "weights": "mine"}}, "the weights 'mine', not 'random'"),
    ],
)
def test_a_start_that_fits_by_its_shapes_alone_is_said(change, says, clip, tmp_path):
    cfg = load_config(pairs=[*COOP, "TRAIN.INIT_FROM", str(tmp_path / "prompts.safetensors")])
    other, learner = (build_learner(cfg, clip, ("cat", "dog")) for _ in range(2))
    other.context.data += 1
    header = prompt_header(cfg, other, ("cat", "dog")) | {"format": 1, "epoch": 3, **change}
    save_file(other.state_dict(), cfg.TRAIN.INIT_FROM, {"softprompt": json.dumps(header)})
    warm = WarmStart(cfg, learner, ("cat", "dog"))
    assert learner.context.equal(other.context)
    (said,) = warm.cautions() or [None]
    assert said is None if says is None else says in said
    trainer = Trainer(PromptedCLIP(clip, learner, ("cat", "dog")))
    warm.check(trainer)
    learner.context.data += 1
    with pytest.raises(UserError, match="Trainer sets the prompts' start itself"):
        warm.check(trainer)


COOP = ["DATASET.NAME", "shapes", "PROMPT.NAME", "coop", "PROMPT.COOP.N_CTX", "4"]
COOP += ["MODEL.BACKBONE.NAME", "tiny", *RANDOM, "TRAINER.NAME", "erm"]


def test_prompts_of_other_classes_are_no_start(clip, tmp_path):
    pairs = [*COOP, "PROMPT.COOP.CSC", "True"]
    cfg = load_config(pairs=[*pairs, "TRAIN.INIT_FROM", str(tmp_path / "prompts.safetensors")])
    learner = build_learner(cfg, clip, ("cat", "dog"))
    header = prompt_header(cfg, learner, ("cat", "cow")) | {"format": 1, "epoch": 3}
    save_file(learner.state_dict(), cfg.TRAIN.INIT_FROM, {"softprompt": json.dumps(header)})
    with pytest.raises(UserError, match="prompts for each of its 2 classes, which are not the 2"):
        WarmStart(cfg, learner, ("cat", "dog"))
    WarmStart(cfg, learner, ("cat", "cow"))


@pytest.mark.parametrize("size", ["vit_b16"])
def test_missing_data_says_where_it_was_looked_for(size, mistake, tmp_path):
    said = mistake(*config("prometar", size), "--root", tmp_path / "data", *RANDOM)
    assert str(tmp_path / "data" / "eurosat") in said
    assert f"tools/download.py eurosat --root {tmp_path / 'data'} gets it" in said
    assert not (tmp_path / "output").exists()


@pytest.fixture
def eurosat(tmp_path) -> Path:
    """A disk with five small pictures of each of EuroSAT's classes."""
    places = {"train": (0, 1, 2), "val": (3,), "test": (4,)}
    split: dict[str, list] = {name: [] for name in places}
    for label in range(4):
        folder = tmp_path / "data" / "eurosat" / "2750" / f"Class{label}"
        folder.mkdir(parents=True)
        for number in range(5):
            Image.new("RGB", (64, 64), (60 * label, 40 * number, 90)).save(folder / f"{number}.jpg")
        for name, numbers in places.items():
            split[name] += [[f"Class{label}/{n}.jpg", label, f"Class {label}"] for n in numbers]
    file = tmp_path / "data" / "eurosat" / "split_zhou_EuroSAT.json"
    file.write_text(json.dumps(split))
    return tmp_path / "data"


def on_disk(root: Path) -> list:
    return [*config("ivlp"), *RANDOM, *QUICK, "--root", root, "DATASET.NAME", "eurosat"]


def test_a_dataset_on_disk_is_trained_on(run, eurosat, tmp_path):
    assert run(*on_disk(eurosat), "--output-dir", tmp_path / "out") == 0
    assert results(tmp_path / "out")["results"]["ivlp under erm"]["base"]["images"] == 2


def test_a_split_that_names_a_missing_picture(mistake, eurosat, tmp_path):
    (eurosat / "eurosat" / "2750" / "Class2" / "3.jpg").unlink()
    said = mistake(*on_disk(eurosat))
    assert "split_zhou_EuroSAT.json" in said
    assert "Class2/3.jpg" in said
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_truncated_picture_is_named(mistake, eurosat, workers):
    for file in (eurosat / "eurosat" / "2750").rglob("*.jpg"):
        file.write_bytes(file.read_bytes()[:300])
    said = mistake(*on_disk(eurosat), "DATALOADER.NUM_WORKERS", workers)
    assert ".jpg cannot be decoded" in said


def test_prompts_of_another_backbone_or_learner(mistake, trained):
    out = trained("coop")
    said = mistake(*config("vpt"), *RANDOM, *QUICK, "--eval-only", "--model-dir", out)
    assert "PROMPT.NAME 'coop', not 'vpt'" in said
    other = ["MODEL.BACKBONE.NAME", "ViT-B/32", "--eval-only", "--model-dir", out]
    assert "MODEL.BACKBONE.NAME 'tiny'" in mistake(*config("coop"), *RANDOM, *other)
    longer = ["PROMPT.COOP.N_CTX", 3, "--eval-only", "--model-dir", out]
    assert "context of shape (4, " in mistake(*config("coop"), *RANDOM, *longer)


def test_a_class_specific_context_knows_its_classes(run, mistake, tmp_path):
    specific = [*config("coop"), *RANDOM, *QUICK, "PROMPT.COOP.CSC", "True"]
    said = mistake(*specific)  # tiny.yaml also wants the new classes tested
    assert "has none for 'crown'" in said
    assert not list(tmp_path.iterdir())
    out = tmp_path / "run"
    assert run(*specific, "TEST.CLASSES", "(base,)", "--output-dir", out) == 0
    new = ["--eval-only", "--model-dir", out, "DATASET.SUBSAMPLE_CLASSES", "new"]
    assert "has none for 'crown'" in mistake(*specific, *new)
    assert not (out / "eval").exists()


def test_a_nan_loss_stops_the_run(run, capsys, tmp_path):
    out = tmp_path / "run"
    code = run(*config("ivlp"), *RANDOM, *QUICK, "OPTIM.LR", "1e30", "--output-dir", out)
    said = capsys.readouterr().err
    assert code == 2
    assert said.count("\n") == 1
    assert "'ce' is nan in epoch 2" in said
    assert not (out / "results.json").exists()
    assert (out / "checkpoints" / "epoch-1").is_dir()


def test_help_does_not_wait_for_torch():
    code = "import sys; sys.argv=['train.py', '--help']; import runpy, atexit;"
    code += "atexit.register(lambda: print('torch' in sys.modules));"
    code += f"runpy.run_path({str(TOOL)!r}, run_name='__main__')"
    sys_path = f"import sys; sys.path.insert(0, {str(TOOL.parent)!r});"
    done = subprocess.run([sys.executable, "-c", sys_path + code], capture_output=True, text=True)
    assert done.returncode == 0
    assert "--config-file" in done.stdout
    assert done.stdout.rstrip().endswith("False")  # not the seconds, which depend on the machine


def test_it_runs_from_any_folder_without_being_installed(tmp_path):
    copy = tmp_path / "copy"
    # Not the environments or outputs that a checkout may hold as well.
    caches = shutil.ignore_patterns("__pycache__")  # which other tests may be writing to
    for folder in ("configs", "core", "datasets", "softprompt", "tools", "trainers"):
        shutil.copytree(ROOT / folder, copy / folder, symlinks=True, ignore=caches)
    done = subprocess.run(
        [sys.executable, "-S", str(copy / "tools" / "train.py"), "--help"],
        cwd="/",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
