"""Every mistake in a plugin is one line that names the class, its file and what is expected."""

import pickle
import re

import pytest

from softprompt.core.base.blame import blaming_plugins
from softprompt.core.base.cli import command
from softprompt.core.base.errors import PluginError, UserError
from softprompt.core.base.registry import DATASETS
from softprompt.core.config.load import load_config
from softprompt.core.engine import run
from softprompt.core.engine.contracts import CheckedReader
from softprompt.core.engine.shared import Shared

PLUGIN = """
import torch.nn.functional as F
from PIL import Image
from torch import nn
from softprompt.core import DATASETS, PROMPT_LEARNERS, TRAINERS
from softprompt.core import Dataset, Item, PromptLearner, Prompts, Trainer, context

@TRAINERS.register("mine")
class Mine(Trainer):
    def __init__(self, model, *, weight: float = 0.5):
        super().__init__(model)
        self.weight = weight

    def loss(self, batch):
        return {"ce": F.cross_entropy(self.model(batch).logits, batch.labels)}

@PROMPT_LEARNERS.register("theirs")
class Theirs(PromptLearner):
    def __init__(self, clip, classnames):
        template, start = context(clip, "", 2)
        super().__init__(template, 2)
        self.context = nn.Parameter(start)

    def forward(self, image_features=None):
        return Prompts(text=self.context)

@DATASETS.register("colours")
class Colours(Dataset):
    def __init__(self, root):
        super().__init__(root)
        self.classnames = ("red", "blue")

    def splits(self):
        items = [Item("red", 0), Item("blue", 1)]
        return {"train": items, "val": items, "test": items}

    def reader(self):
        return Image_of

def Image_of(path):
    return Image.new("RGB", (48, 48), path)
"""
CHOSEN = ["TRAINER.NAME", "mine", "PROMPT.NAME", "theirs", "DATASET.NAME", "colours"]
CHOSEN += ["MODEL.BACKBONE.NAME", "tiny", "MODEL.BACKBONE.PRETRAINED", "", "OPTIM.MAX_EPOCH", "1"]
CHOSEN += ["OPTIM.WARMUP_EPOCH", "0"]
LOSS = "    def loss(self, batch):\n"
CE = 'return {"ce": F.cross_entropy('
TEXT = "return Prompts(text=self.context)"
START = "nn.Parameter(start)"
SPLITS = 'return {"train": items, "val": items, "test": items}'
NAMES = 'self.classnames = ("red", "blue")'
TRAINER, LEARNER, DATA = (
    f"class {name}:" for name in ("Mine(Trainer)", "Theirs(PromptLearner)", "Colours(Dataset)")
)


def method(body: str) -> tuple[str, str]:
    """Give the trainer another method."""
    return LOSS, f"    def {body}\n\n{LOSS}"


# What is replaced by what, and the message's pattern; all name the file, which is not written here.
MISTAKES = {
    "a trainer without its base": (
        TRAINER,
        "class Mine:",
        r"'mine', .*Mine .* derive from Trainer",
    ),
    "a learner without its base": (
        LEARNER,
        "class Theirs(nn.Module):",
        "derive from PromptLearner",
    ),
    "a dataset without its base": (DATA, "class Colours:", r"write class Colours\(Dataset\)"),
    "a trainer without super": (
        "super().__init__(model)",
        "pass",
        r"call super\(\).__init__\(model",
    ),
    "a learner without super": (
        "super().__init__(template, 2)",
        "pass",
        r"__init__\(template, n_c",
    ),
    "a learner of a mere module": (
        "super().__init__(template, 2)",
        "nn.Module.__init__(self)",
        r"Theirs .*super\(\).__init__\(template, n_context\) first \(it has no .*'template'",
    ),
    "a dataset without super": (
        "super().__init__(root)",
        "self.root.exists()",
        r"Colours .* must call super\(\).__init__\(root\) first",
    ),
    "a required option": ("float = 0.5", "float", "Mine.*'weight' needs a default"),
    "an option of no type": (
        "float = 0.5",
        "type = nn.Linear",
        "Mine.*'weight' has the default",
    ),
    "a wrong constructor": ("self, model, *", "self, *", r"Mine .*constructed as Mine\(model\)"),
    "a loss without batch": ("loss(self, batch)", "loss(self)", r"Mine .*called as loss\(batch\)"),
    "an epoch without number": (
        *method("after_epoch(self): pass"),
        r"def after_epoch\(self, epoch",
    ),
    "no loss": ("def loss", "def lost", r"Mine .*neither loss\(\) nor step\(\)"),
    "no preparation": (
        *method("prepare(self, optim): pass"),
        r"must call super\(\).prepare\(optim",
    ),
    "no optimizers": (
        *method("prepare(self, optim): super().prepare(optim); self.optimizers = []"),
        "Mine .*stay a dict",
    ),
    "no rates": (*method("learning_rates(self, epoch): pass"), r"learning_rates\(\) returned None"),
    "a rate of no optimizer": (
        *method("learning_rates(self, epoch): return dict(prompts=1.0, gate=1.0)"),
        r"Mine .*returned .*'gate'.*prepare\(\) made \('prompts'\)",
    ),
    "no forward": ("def forward", "def forwards", r"Theirs .*does not define forward\(\)"),
    "a sentence without name": (
        "(template, 2)",
        '("X X", 2)',
        r"Theirs .*'X X', which has no \{\}",
    ),
    "too short a sentence": ("(template, 2)", '("X {}.", 2)', "Theirs .*too few for 2 context"),
    "prompts of another width": (START, "nn.Parameter(start[:, :7])", r"Theirs .*shape \(2, 7\)"),
    "prompts of another number": (START, "nn.Parameter(start[:1])", r"Theirs .*shape \(1, 128\)"),
    "prompts of numpy": (TEXT, "return Prompts(text=self.context.detach().numpy())", "of ndarray"),
    "too many blocks": (
        TEXT,
        TEXT[:-1] + ", deep_text=(self.context,) * 9)",
        "Theirs .*9 deep text",
    ),
    "fixed parameters": (
        START,
        "nn.Parameter(start, requires_grad=False)",
        "context takes no grad",
    ),
    "no parameters": (START, "start", "Theirs .*nothing to train, no nn.Parameter"),
    "no classnames": (
        NAMES,
        "pass",
        r"Colours .*self.classnames = \(\"ant\", \"bee\"\), not to None",
    ),
    "a text as classnames": (NAMES, "self.classnames = 'ab'", "Colours .*not to 'ab'"),
    "numbers as classnames": (NAMES, "self.classnames = (1, 2)", r"Colours .*not to \(1, 2\)"),
    "no splits": ("def splits", "def split", r"Colours .*does not define splits\(\)"),
    "no test split": (SPLITS, "return {'train': items, 'val': items}", "Colours .*without 'test'"),
    "foreign splits": (SPLITS, "return {'training': items, 'test': items}", "without 'train'"),
    "a split of nothing": (SPLITS, "return dict(train=None, test=items)", "NoneType for 'train'"),
    "a split read once": (
        SPLITS,
        "return dict(train=iter(items), test=items)",
        "list_iterator for",
    ),
    "a number as path": ('Item("red", 0)', "Item(7, 0)", r"Colours .*has Item\(path=7, label=0\)"),
    "a label out of range": ('Item("blue", 1)', 'Item("blue", 2)', "Colours .*label from 0 to 1"),
    "no training pictures": (SPLITS, "return dict(train=[], test=items)", "Colours .*in 'train'"),
    "no test pictures": (SPLITS, "return dict(train=items, test=[])", "Colours .*in the test sp"),
    "no reader": ("return Image_of", "pass", r"Colours .*reader\(\) returned NoneType"),
    "no folder of pictures": ("def reader", "def readers", "Colours .*must set image_dir"),
    "a gray picture": (
        '"RGB", (48, 48), path',
        '"L", (48, 48)',
        "Colours .*reads .* as L; .*in RGB",
    ),
    "no picture": ("return Image.new", "return 7 or Image.new", "Colours .*reads .* as int"),
    "no class": ("class Mine(", "def mine(model): pass\n\nclass Mine(", "no class, but <function"),
    "a built-in name": ('"mine"', '"ERM"', "'erm' is registered twice.*erm.py.*and by.*Mine"),
    "a setting's name": ('"mine"', '"seed"', "Mine .*has the name of the setting TRAINER.SEED"),
    "an empty name": ('"mine"', '" "', "a trainer is registered under the empty name ' '"),
    "no name": (
        '.register("mine")',
        ".register",
        r"write @register\('name'\).*my_plugin.py, line 8",
    ),
    "an exit at import": (
        "import torch.nn",
        "raise SystemExit(3)\nimport torch.nn",
        "SystemExit: 3",
    ),
    "an error of lines": (
        "import torch.nn",
        "raise OSError('a\\nb')\nimport torch.nn",
        r"OSError: a \(",
    ),
    "no Python": (
        "import torch.nn",
        "def f(:\nimport torch.nn",
        r"SyntaxError.*my_plugin.py, line 2",
    ),
    "a missing module": ("from PIL", "import nil\nfrom PIL", r"'nil' \(my_plugin.py, line 3\)"),
    "a base that is no class": ("(Trainer):", "(Trainer, object()):", r"TypeError.*line 9\)"),
}

NAMELESS = ("no class", "an empty name")  # there is no class to be named by


@pytest.fixture(scope="module")
def shared() -> Shared:
    return Shared()


@pytest.fixture
def train(plugin_file, tmp_path, shared):
    """Train with the plugin after a replacement in it."""

    def train(right: str, wrong: str) -> dict:
        assert right in PLUGIN
        file = plugin_file(PLUGIN.replace(right, wrong, 1))
        pairs = ["PLUGINS", str(file), *CHOSEN, "OUTPUT_DIR", str(tmp_path / "run")]
        return run.train(load_config(pairs=pairs), shared=shared)

    return train


def test_the_plugin_itself_trains(train, tmp_path):
    random, batch = train("", "")["warnings"]
    assert "RANDOM WEIGHTS" in random and "BATCH_SIZE is 32, but there are 2" in batch


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line(mistake, train, tmp_path):
    right, wrong, says = MISTAKES[mistake]
    with pytest.raises(UserError, match=says) as error:
        train(right, wrong)
    assert error.value.exit_code == 2
    assert "\n" not in str(error.value)
    assert "my_plugin" in str(error.value) or mistake in NAMELESS
    assert not (tmp_path / "run" / "results.json").exists()


@pytest.mark.parametrize(
    ("right", "wrong", "says"),
    [
        (
            CE,
            "{}['x']\n        " + CE,
            r"Mine.loss \(.*my_plugin.py, line 15\) raised KeyError: 'x'",
        ),
        (CE, CE + "1, ", r"Mine.loss \(.*my_plugin.py, line 15\) raised TypeError: cross_entropy"),
        (CE, "assert 0\n        " + CE, r"Mine.loss \(.*line 15\) raised AssertionError;"),
        (CE, "raise SystemExit(4)\n        " + CE, r"Mine.loss \(.*raised SystemExit: 4;"),
        (CE, "raise OSError('a\\nb')\n        " + CE, r"Mine.loss \(.*raised OSError: a;"),
        (TEXT, "return {}['nothing']", r"Theirs.forward \(.*line 25\) raised KeyError"),
        ("self.weight =", "1 / 0 #", r"Mine.__init__ \(.*line 12\) raised ZeroDivisionError"),
        ("items = [", "items = [][1] + [", r"Colours.splits \(.*raised IndexError"),
        ('Image.new("RGB"', 'Image.new("none"', r"Image_of \(.*raised KeyError: 'none'"),
    ],
)
def test_an_error_in_a_method_is_one_line_with_code_1(right, wrong, says, train, capsys):
    main = command()(lambda arguments: train(right, wrong) and 0)
    assert main([]) == PluginError.exit_code == 1
    said = capsys.readouterr().err
    assert re.search(says, said) and said.count("\n") == 1
    assert "--debug shows the traceback" in said


def test_an_error_of_ours_is_blamed_on_no_plugin(train):
    train("", "")
    with pytest.raises(KeyError), blaming_plugins():
        {}["ours"]


def test_the_log_says_why_a_run_has_stopped(train, tmp_path):
    with pytest.raises(KeyError):
        train(CE, "{}['x']\n        " + CE)
    assert "stopped: Mine.loss (" in (tmp_path / "run" / "log.txt").read_text()


def test_a_dataset_may_have_no_validation_pictures_and_more_splits(train):
    found = train(SPLITS, "return {'train': items, 'test': items, 'more': items}")
    assert found["results"]["theirs under mine"]["all"]["images"] == 2


def test_a_checked_reader_survives_pickling(tmp_path):
    dataset = DATASETS["shapes"](tmp_path)
    reader = pickle.loads(pickle.dumps(CheckedReader(dataset.reader(), dataset)))
    assert reader("hammer/0").mode == "RGB"
