"""``tools/catalogue.py``: what it says of every registered class, and of a plugin's."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from softprompt.core.config.load import load_config
from softprompt.core.config.options import COMPONENTS, entry_of, node_name, options_of
from softprompt.core.config.values import coerce, value_at

ROOT = Path(__file__).resolve().parents[2]
REGISTERED = [
    (component, name) for component, registry in COMPONENTS.items() for name in registry.names()
]
PLUGIN = '''
from softprompt.core import TRAINERS, Dataset, DATASETS, Trainer


@TRAINERS.register("my-trainer")
class MyTrainer(Trainer):
    """Mine, https://arxiv.org/abs/9999.00001, with a | in it.

    Not https://arxiv.org/abs/9999.00002.
    """

    def __init__(self, model, *, weight: float = 0.5, parts: tuple = ("a", "b")):
        """Start.

        Args:
            weight, parts: of the
                whole.
        """


@DATASETS.register("my_data")
class MyData(Dataset):
    pass
'''


@pytest.fixture
def catalogue(load_tool):
    return load_tool("catalogue")


@pytest.fixture
def shown(catalogue, capsys):
    """Run the tool; return what it prints."""

    def shown(*arguments) -> str:
        assert catalogue.main([*map(str, arguments)]) == 0
        return capsys.readouterr().out

    return shown


@pytest.mark.parametrize(("component", "name"), REGISTERED)
def test_each_class_tells_what_it_is(component, name):
    """What a reader of the catalogue needs of our own classes; a plugin may be terser."""
    cls = COMPONENTS[component][name]
    if not cls.__module__.startswith("softprompt."):
        return
    entry = entry_of(component, name, cls)
    assert len(entry.about) > 5
    assert entry.about != "(no docstring)"
    assert "http" not in entry.about
    assert entry.paper.startswith("https://") or component == "DATASET" or name == "erm"
    assert [option.name for option in entry.options if not option.meaning] == []


def test_json_is_the_registries(shown):
    found = json.loads(shown("--json"))
    assert {c: list(entries) for c, entries in found.items()} == {
        component: registry.names() for component, registry in COMPONENTS.items()
    }
    for component, name in REGISTERED:
        said = {option["key"]: option for option in found[component][name]["options"]}
        options = options_of(COMPONENTS[component][name])
        prefix = f"{component}.{node_name(name)}."
        assert list(said) == [prefix + option.upper() for option in options]
        for option, default in options.items():
            entry = said[prefix + option.upper()]
            assert coerce(entry["default"], default, option, "json") == default
            assert entry["type"] == type(default).__name__


def test_the_keys_it_prints_are_keys_of_the_configuration(shown):
    found = json.loads(shown("--json", "prometar"))["TRAINER"]["prometar"]
    chosen = ["DATASET.NAME", "shapes", "PROMPT.NAME", "coop", "TRAINER.NAME", "prometar"]
    cfg = load_config(pairs=chosen)
    assert all(value_at(cfg, o["key"]) == o["default"] for o in found["options"])


def test_the_terminal_table_shows_every_class(shown, monkeypatch):
    monkeypatch.setenv("COLUMNS", "110")
    text = shown()
    assert all(f"\n{name} " in text for _, name in REGISTERED)
    assert "GATE_SCHEDULED: bool = False" in text
    assert "https://arxiv.org/abs/2109.01134" in text
    assert max(map(len, text.splitlines())) <= 110


def test_a_kind_or_names_choose(shown):
    assert shown("trainers") == shown("Trainer")
    learners = shown("learners")
    assert learners == shown("prompt learners") == shown("prompt_learner") == shown("prompt")
    assert "cocoop" in learners
    assert "kgcoop" not in learners
    sheet = shown("ProMetaR", "coop")
    assert "TRAINER.PROMETAR.ADAPT_LR" in sheet
    assert "rate of the inner step" in sheet
    assert "PROMPT.COOP.CSC" in sheet
    assert "KGCOOP" not in sheet


def test_a_plugin_is_shown(shown, plugin_file):
    file = plugin_file(PLUGIN)
    table = shown("--markdown", "my_trainer", "my_data", "PLUGINS", file)
    assert "Mine, with a \\| in it" in table
    assert "<https://arxiv.org/abs/9999.00001>" in table
    assert "00002" not in table
    assert "`WEIGHT: float = 0.5`<br>`PARTS: tuple = ('a', 'b')`" in table
    assert "(no docstring)" in table
    sheet = shown("my_trainer", "PLUGINS", f"({file},)")
    assert sheet.count("of the whole") == 2
    assert str(file) in sheet


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["prometr"], "nothing is registered as 'prometr'; did you mean 'prometar'?"),
        (["learnrs"], "did you mean 'learners'?"),
        (["PLUGINS", "nowhere.py"], "no such file"),
    ],
)
def test_a_mistake_is_one_line(words, says, catalogue, capsys):
    assert catalogue.main(words) == 2
    said = capsys.readouterr()
    assert says in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


@pytest.mark.slow
def test_it_runs_from_any_folder(tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "catalogue.py"), "erm"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert done.stdout.startswith("TRAINER.NAME erm, trainer: Empirical risk minimization")
