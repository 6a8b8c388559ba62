import sys

import pytest

from softprompt.core.config import load_config
from softprompt.core.errors import UserError
from softprompt.core.plugins import import_built_in, import_plugins
from softprompt.core.registry import DATASETS, PROMPT_LEARNERS, TRAINERS

PLUGIN = '''
from softprompt.core import DATASETS, PROMPT_LEARNERS, TRAINERS, Dataset, PromptLearner, Trainer


@TRAINERS.register("my_trainer")
class MyTrainer(Trainer):
    """Mine."""

    def __init__(self, model, *, weight: float = 0.5):
        super().__init__(model)


@PROMPT_LEARNERS.register("my_learner")
class MyLearner(PromptLearner):
    """Mine."""

    def __init__(self, clip, classnames, *, n_ctx: int = 3):
        super().__init__("a photo of a {}.")


@DATASETS.register("my_data")
class MyData(Dataset):
    """Mine."""
'''


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


def test_an_installed_package_registers_through_its_entry_point(plugin_file, tmp_path, monkeypatch):
    plugin_file(PLUGIN, "my_package.py")
    info = tmp_path / "my_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[softprompt.plugins]\nmine = my_package\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import_built_in()
    assert "my_trainer" in TRAINERS
    sys.modules.pop("my_package")


def test_an_option_without_a_default_is_an_error(plugin_file):
    file = plugin_file(PLUGIN.replace("weight: float = 0.5", "weight: float"))
    with pytest.raises(UserError, match="MyTrainer.*'weight' needs a default"):
        load_config(pairs=["PLUGINS", str(file)])
