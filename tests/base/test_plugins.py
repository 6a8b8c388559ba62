import json
import os
import subprocess
import sys
from pathlib import Path

import meta_train  # tools/ is on the path
import predict
import pytest
import train
from PIL import Image
from safetensors.torch import load_file

from softprompt.core.base.errors import UserError
from softprompt.core.base.plugins import import_built_in, import_plugins
from softprompt.core.base.registry import DATASETS, PROMPT_LEARNERS, TRAINERS
from softprompt.core.base.seeding import seeded
from softprompt.core.config.load import config_hash, load_config
from softprompt.core.config.saved import SavedSettings
from softprompt.core.engine import run
from softprompt.core.engine.predictor import Predictor
from softprompt.core.prompts.base import random_vectors

PLUGIN = '''
import torch.nn.functional as F
from PIL import Image
from torch import nn

from softprompt.core import (
    DATASETS,
    PROMPT_LEARNERS,
    TRAINERS,
    Dataset,
    Item,
    PromptLearner,
    Prompts,
    Trainer,
    context,
)

COLOURS = ("red", "green", "blue", "yellow")


@TRAINERS.register("my_trainer")
class MyTrainer(Trainer):
    """Mine."""

    def __init__(self, model, *, weight: float = 0.5):
        super().__init__(model)
        self.weight = weight

    def loss(self, batch):
        ce = F.cross_entropy(self.model(batch.images).logits, batch.labels)
        size = sum(value.pow(2).sum() for value in self.model.params().values())
        return {"ce": ce, "size": self.weight * size}


@PROMPT_LEARNERS.register("my_learner")
class MyLearner(PromptLearner):
    """Mine."""

    def __init__(self, clip, classnames, *, n_ctx: int = 3):
        template, start = context(clip, "", n_ctx)
        super().__init__(template, n_ctx)
        self.context = nn.Parameter(start)

    def forward(self, image_features=None):
        return Prompts(text=self.context)


class Paint:
    def __call__(self, path):
        colour, number = path.split("/")
        return Image.new("RGB", (40, 40 + int(number)), colour)


@DATASETS.register("my_data")
class MyData(Dataset):
    """Mine."""

    def __init__(self, root, *, pictures: int = 4):
        super().__init__(root)
        self.pictures = pictures
        self.classnames = COLOURS
        self.image_dir = self.root

    def splits(self):
        items = [Item(f"{c}/{i}", k) for k, c in enumerate(COLOURS) for i in range(self.pictures)]
        return {"train": items, "val": items, "test": items}

    def reader(self):
        return Paint()
'''
# The backbone has no weights here: what is tested is that the run is the plugin's.
MINE = ["TRAINER.NAME", "my_trainer", "PROMPT.NAME", "my_learner", "DATASET.NAME", "my_data"]
MINE += ["MODEL.BACKBONE.NAME", "tiny", "MODEL.BACKBONE.PRETRAINED", "", "OPTIM.MAX_EPOCH", "3"]
MINE += ["DATASET.MY_DATA.PICTURES", "3", "PROMPT.MY_LEARNER.N_CTX", "2", "DATASET.NUM_SHOTS", "2"]
MINE += ["TRAINER.MY_TRAINER.WEIGHT", "50", "DATALOADER.TRAIN_X.BATCH_SIZE", "4"]
MINE += ["DATASET.SUBSAMPLE_CLASSES", "base", "TEST.CLASSES", "(base, new)"]


@pytest.fixture
def installed(plugin_file, tmp_path) -> Path:
    """A folder that holds the plugin as an installed package, with its entry point."""
    plugin_file(PLUGIN, "my_package.py")
    info = tmp_path / "my_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[softprompt.plugins]\nmine = my_package\n")
    return tmp_path


def assert_mine_trained(out: Path) -> None:
    found = json.loads((out / "results.json").read_text())
    assert found["dataset"] == "my_data"
    assert found["train"]["images"] == 4  # two shots of the first two of four classes
    scores = found["results"]["my_learner under my_trainer"]
    assert [scores[classes]["images"] for classes in ("base", "new")] == [6, 6]
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [{"ce", "size"} <= line.keys() for line in lines] == [True] * 3
    (saved,) = out.rglob("prompts.safetensors")
    trained = load_file(saved)
    assert {name: len(value) for name, value in trained.items()} == {"context": 2}
    with seeded(1, "init"):  # SEED is 1
        start = random_vectors(2, trained["context"].shape[1])
    assert trained["context"].shape == start.shape
    assert trained["context"].norm() < 0.9 * start.norm()  # by its own loss


def test_a_file_with_all_three_kinds_trains(plugin_file, tmp_path):
    out = tmp_path / "run"
    pairs = ["PLUGINS", str(plugin_file(PLUGIN)), *MINE]
    assert train.main(["--output-dir", str(out), *pairs]) == 0
    assert_mine_trained(out)


@pytest.mark.slow
def test_an_installed_package_trains(installed, root, tmp_path):
    """In a process of its own, which knows nothing of this one's plugins."""
    out = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, str(root / "tools" / "train.py"), "--output-dir", str(out), *MINE],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert_mine_trained(out)


def test_every_built_in_is_found():
    assert {"erm", "kgcoop", "prograd", "prometar", "promptsrc"} <= set(TRAINERS.names())
    assert {"coop", "cocoop", "vpt", "ivlp", "maple", "language_only", "zeroshot"} <= set(
        PROMPT_LEARNERS.names()
    )
    assert {"eurosat", "folder", "shapes"} <= set(DATASETS.names())


def test_one_file_registers_all_three_kinds(plugin_file):
    file = plugin_file(PLUGIN)
    cfg = load_config(
        pairs=["PLUGINS", str(file), "TRAINER.NAME", "my_trainer", "PROMPT.NAME", "My-Learner"]
        + [
            "DATASET.NAME",
            "my_data",
            "TRAINER.MY_TRAINER.WEIGHT",
            "2",
            "PROMPT.MY_LEARNER.N_CTX",
            "5",
        ]
    )
    assert cfg.TRAINER.MY_TRAINER.WEIGHT == 2.0
    assert cfg.PROMPT.MY_LEARNER.N_CTX == 5


def test_a_relative_file_is_found_beside_the_config(plugin_file, tmp_path):
    plugin_file(PLUGIN)
    config = tmp_path / "mine.yaml"
    config.write_text(
        "PLUGINS: [my_plugin.py]\nTRAINER: {NAME: my_trainer}\n"
        "PROMPT: {NAME: coop}\nDATASET: {NAME: shapes}\n"
    )
    assert load_config(str(config)).TRAINER.MY_TRAINER.WEIGHT == 0.5


def test_the_same_file_is_imported_once(plugin_file):
    file = str(plugin_file(PLUGIN))
    import_plugins([file])
    import_plugins([file])
    assert "my_trainer" in TRAINERS


def test_the_same_name_from_another_file_is_an_error(plugin_file):
    import_plugins([str(plugin_file(PLUGIN))])
    with pytest.raises(UserError, match="registered twice.*my_plugin.*other"):
        import_plugins([str(plugin_file(PLUGIN, "other.py"))])


@pytest.mark.parametrize(
    ("plugin", "says"),
    [("nowhere.py", "no such file.*nowhere.py"), ("not_a_module.x", "not_a_module.x.*cannot be")],
)
def test_a_missing_plugin_is_one_line(plugin, says):
    with pytest.raises(UserError, match=says) as error:
        import_plugins([plugin])
    assert "\n" not in str(error.value)


def test_a_broken_plugin_is_named(plugin_file):
    file = plugin_file("1 / 0")
    with pytest.raises(UserError, match="my_plugin.py.*ZeroDivisionError"):
        import_plugins([str(file)])
    assert "softprompt_plugin_my_plugin" not in sys.modules


def test_an_installed_package_registers_through_its_entry_point(installed, monkeypatch):
    monkeypatch.syspath_prepend(str(installed))
    import_built_in()
    assert "my_trainer" in TRAINERS
    sys.modules.pop("my_package")


def test_an_option_without_a_default_is_an_error(plugin_file):
    file = plugin_file(PLUGIN.replace("weight: float = 0.5", "weight: float"))
    with pytest.raises(UserError, match="MyTrainer.*'weight' needs a default"):
        load_config(pairs=["PLUGINS", str(file)])


MARKED = """
from pathlib import Path
with open(Path(__file__).with_suffix(".ran"), "a") as marks:
    marks.write("ran ")
"""


@pytest.fixture
def run_with_plugin(plugin_file, tmp_path, monkeypatch):
    """Train with a plugin, forget it, and return the run's folder and how often the file has run.

    The file lies in the current folder, below which a run could name it.
    """
    monkeypatch.chdir(tmp_path)
    file = Path(plugin_file(PLUGIN + MARKED))
    assert train.main(["--output-dir", "run", "PLUGINS", file.name, *MINE]) == 0
    sys.modules.pop(f"softprompt_plugin_{file.stem}")
    for registry in (TRAINERS, PROMPT_LEARNERS, DATASETS):
        for name in registry.names():
            if registry[name].__module__.startswith("softprompt_plugin_"):
                del registry._classes[name]
    return file, lambda: len(file.with_suffix(".ran").read_text().split())


@pytest.mark.parametrize("tool", ["evaluate", "resume", "predict"])
def test_a_run_imports_no_code_unless_the_user_says_so(tool, run_with_plugin, capsys):
    file, times = run_with_plugin
    Image.new("RGB", (40, 40)).save("photo.png")
    command = {
        "evaluate": lambda *more: train.main(["--eval-only", "--model-dir", "run", *more]),
        "resume": lambda *more: train.main(["--resume", "run", *more]),
        "predict": lambda *more: predict.main(["run", "photo.png", *more]),
    }[tool]
    named = ["PLUGINS", str(file)] if tool == "evaluate" else ["PLUGINS", file.name]
    named = ["--set", *named] if tool == "predict" else named
    without = ["--set", "PLUGINS", "()"] if tool == "predict" else ["PLUGINS", "()"]

    capsys.readouterr()
    assert command() == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "PLUGINS 'my_plugin.py'" in said
    assert "--trust-plugins" in said and "may not import" in said
    assert command(*without) == 2
    assert "MY_" in capsys.readouterr().err  # what is missing, by name
    assert times() == 1

    assert command(*named) == 0
    assert times() == 2
    assert command("--trust-plugins") == 0
    assert times() == 2  # the same file


def test_a_config_file_that_the_user_names_may_import(run_with_plugin):
    _, times = run_with_plugin
    command = ["--config-file", "run/config.yaml", "--output-dir", "run", "--resume"]
    assert train.main(command) == 0
    assert times() == 2


def test_the_users_file_is_imported_instead_of_the_runs(run_with_plugin, tmp_path):
    file, times = run_with_plugin
    mine = tmp_path / "mine" / file.name
    mine.parent.mkdir()
    mine.write_text(file.read_text())
    assert train.main(["--eval-only", "--model-dir", "run", "PLUGINS", str(mine)]) == 0
    assert times() == 1 and mine.with_suffix(".ran").is_file()


def test_all_plugins_that_a_run_needs_are_asked_for_at_once():
    saved = SavedSettings("run/config.yaml", {"PLUGINS": ["a.py", "b.c", "d.py"]})
    with pytest.raises(UserError, match=r"'b.c', 'd.py' in.*PLUGINS '\(x/a.py,b.c,d.py\)'"):
        saved.plugins_to_import(saved.layer(), ["x/a.py"])


def test_a_meta_trained_run_imports_none_either(tmp_path, capsys):
    (tmp_path / "config.yaml").write_text("PLUGINS: [a.py]")
    assert meta_train.main(["--resume", "--output-dir", str(tmp_path)]) == 2
    assert "names 'a.py' in PLUGINS" in capsys.readouterr().err


def test_an_evaluation_writes_only_where_the_user_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = {"OUTPUT_DIR": "theirs", "CACHE": {"DIR": "theirs"}, "PROMPT": {"NAME": "coop"}}
    settings |= {"TRAINER": {"NAME": "erm"}, "DATASET": {"NAME": "shapes"}}
    cfg = load_config(saved=SavedSettings("run/config.yaml", settings))
    assert (cfg.OUTPUT_DIR, cfg.CACHE.DIR) == ("", "")
    cfg = load_config(saved=SavedSettings("run/config.yaml", settings), pairs=["CACHE.DIR", "mine"])
    assert cfg.CACHE.DIR == "mine"
    cfg = load_config(saved=SavedSettings("run/config.yaml", settings, own_places=True))
    assert (cfg.OUTPUT_DIR, cfg.CACHE.DIR) == ("theirs", "theirs")


def test_the_configuration_names_the_plugins_of_all_files(plugin_file, tmp_path, monkeypatch):
    """As they are found from anywhere, so a saved run can be evaluated without those files."""
    for kind, registry in (("trainer", "TRAINERS"), ("learner", "PROMPT_LEARNERS")):
        plugin_file(
            f"from softprompt.core import {registry}, Trainer, PromptLearner\n"
            f'@{registry}.register("some_{kind}")\n'
            f"class Some({'Trainer' if kind == 'trainer' else 'PromptLearner'}): pass\n",
            f"some_{kind}.py",
        )
    base, method, data = (tmp_path / f"{name}.yaml" for name in ("base", "method", "data"))
    base.write_text("PLUGINS: [some_trainer.py]\nTRAINER: {NAME: some_trainer}\n")
    method.write_text(f"_BASE_: {base.name}\nPLUGINS: [some_learner.py]\nPROMPT: {{NAME: coop}}\n")
    data.write_text("PLUGINS: [my_plugin.py]\nDATASET: {NAME: my_data}\n")
    mine = str(plugin_file(PLUGIN))
    cfg = load_config(str(method), str(data), pairs=["PLUGINS", mine])
    files = ("some_trainer.py", "some_learner.py", "my_plugin.py")
    assert cfg.PLUGINS == tuple(str((tmp_path / file).resolve()) for file in files)

    saved = tmp_path / "elsewhere" / "config.yaml"
    saved.parent.mkdir()
    saved.write_text(cfg.dump())
    assert load_config(str(saved)) == cfg
    monkeypatch.chdir(tmp_path)  # as given where it is found from here
    assert load_config(str(data), pairs=["TRAINER.NAME", "erm", "PROMPT.NAME", "coop"]).PLUGINS == (
        "my_plugin.py",
    )


FORWARD, LOSS = "return Prompts(text=self.context)", 'return {"ce": ce, "size": self.weight * size}'
SPLITS = 'return {"train": items, "val": items, "test": items}'
BY_CLASS = "return Prompts(text=self.context.expand({}, -1, -1))"
FOR_CLASSES = FORWARD + "\n\n    def for_classes(self, classnames):\n        return {}\n"


@pytest.mark.parametrize(
    ("right", "wrong", "says"),
    [
        (FORWARD, FORWARD[7:], r"MyLearner.forward\(\) returned NoneType"),
        (FORWARD, "return self.context", r"MyLearner.forward\(\) returned Parameter"),
        (
            FORWARD,
            BY_CLASS.format(2),
            r"MyLearner.* differ from class to class, but its for_classes",
        ),
        (FORWARD, FOR_CLASSES.format("None"), r"MyLearner.*: for_classes\(\) returned None"),
        (
            FORWARD,
            FOR_CLASSES.format("__import__('copy').deepcopy(self)"),
            r"MyLearner.*: for_classes\(\) returned another learner for the very class names",
        ),
        (LOSS, LOSS[7:], r"MyTrainer.*: loss\(\) returned None; .*scalar tensors by name"),
        (LOSS, "return ce", r"MyTrainer.*: loss\(\) returned a tensor of shape \(\)"),
        (
            LOSS,
            'return {"ce": ce.item()}',
            r"loss\(\) returned a dict with 'ce': a value of type float",
        ),
        (
            LOSS,
            'return {"ce": ce.expand(4)}',
            r"returned a dict with 'ce': a tensor of shape \(4,\)",
        ),
        (
            "def loss",
            "def step(self, batch): pass\n\n    def loss",
            r"MyTrainer.*: step\(\) returned None",
        ),
        (SPLITS, SPLITS[7:], r"MyData.*: splits\(\) returned NoneType"),
        (
            'Item(f"{c}',
            '(f"{c}',
            r"MyData.*: splits\(\) has \(.*\) in 'train'; .*a label from 0 to 3",
        ),
        (", k)", ", c)", r"MyData.*: splits\(\) has Item\(.*label='red'\)"),
        (", k)", ", k + 1)", r"MyData.*: splits\(\) has Item\(.*label=4\)"),
    ],
)
def test_what_a_plugin_returns_is_checked(right, wrong, says, plugin_file, tmp_path):
    plugin = plugin_file(PLUGIN.replace(right, wrong))
    pairs = ["PLUGINS", str(plugin), *MINE, "OUTPUT_DIR", str(tmp_path / "run")]
    with pytest.raises(UserError, match=says) as error:
        run.train(load_config(pairs=pairs))
    assert "\n" not in str(error.value)


def test_prompts_by_class_serve_the_classes_they_were_trained_on(plugin_file, tmp_path):
    text = PLUGIN.replace(FORWARD, BY_CLASS.format(2))
    pairs = ["PLUGINS", str(plugin_file(text)), *MINE, "OUTPUT_DIR", str(tmp_path / "run")]
    found = run.train(load_config(pairs=[*pairs, "TEST.CLASSES", "(base,)"]))
    assert found["results"]["my_learner under my_trainer"]["base"]["images"] == 6
    with pytest.raises(UserError, match="MyLearner.* differ from class to class"):
        Predictor(tmp_path / "run", classnames=("red", "violet"), trust_plugins=True)


def test_a_plugin_is_one_however_its_path_is_written(tmp_path, monkeypatch):
    """So the hash of a configuration does not depend on where it and its plugins lie."""
    pairs = ["DATASET.NAME", "shapes", "PROMPT.NAME", "coop", "TRAINER.NAME", "erm"]
    hashes = set()
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        for name in ("one", "two"):
            (folder / f"{name}.py").touch()
        (folder / "x.yaml").write_text("PLUGINS: [one.py, two.py]")
        monkeypatch.chdir(tmp_path)
        beside = load_config(str(folder / "x.yaml"), pairs=pairs)
        assert beside.PLUGINS == (str(folder / "one.py"), str(folder / "two.py"))
        monkeypatch.chdir(folder)
        here = load_config("x.yaml", pairs=[*pairs, "PLUGINS", f"./two.py,{folder}/one.py"])
        assert here.PLUGINS == ("one.py", "two.py")
        hashes |= {config_hash(beside), config_hash(here)}
    assert len(hashes) == 1
    assert hashes != {config_hash(load_config(pairs=pairs))}
