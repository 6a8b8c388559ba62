import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import train  # tools/ is on the path
from safetensors.torch import load_file

from softprompt.core.base.errors import UserError
from softprompt.core.base.plugins import import_built_in, import_plugins
from softprompt.core.base.registry import DATASETS, PROMPT_LEARNERS, TRAINERS
from softprompt.core.base.seeding import seeded
from softprompt.core.config.load import load_config
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
        (FORWARD, BY_CLASS.format(2), r"MyLearner differ from class to class, but its for_classes"),
        (FORWARD, FOR_CLASSES.format("None"), r"MyLearner.for_classes\(\) returned None"),
        (
            FORWARD,
            FOR_CLASSES.format("__import__('copy').deepcopy(self)"),
            r"MyLearner.for_classes\(\) returned another learner for the very class names",
        ),
        (LOSS, LOSS[7:], r"MyTrainer.loss\(\) returned NoneType; .*scalar tensors by name"),
        (LOSS, "return ce", r"MyTrainer.loss\(\) returned Tensor"),
        (LOSS, 'return {"ce": ce.item()}', r"MyTrainer.loss\(\) returned a float as 'ce'"),
        (LOSS, 'return {"ce": ce.expand(4)}', r"MyTrainer.loss\(\) returned 'ce' of shape \(4,\)"),
        (
            "def loss",
            "def step(self, batch): pass\n\n    def loss",
            r"MyTrainer.step\(\) returned NoneType",
        ),
        (SPLITS, SPLITS[7:], r"MyData.splits\(\) returned NoneType"),
        ('Item(f"{c}', '(f"{c}', r"MyData.splits\(\) has \(.*\) in 'train'; .*a label from 0 to 3"),
        (", k)", ", c)", r"MyData.splits\(\) has Item\(.*label='red'\)"),
        (", k)", ", k + 1)", r"MyData.splits\(\) has Item\(.*label=4\)"),
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
    with pytest.raises(UserError, match="MyLearner differ from class to class"):
        Predictor(tmp_path / "run", classnames=("red", "violet"))
