"""What the README tells people to type."""

import re
import shlex
from pathlib import Path

import pytest
import torch

from softprompt.core.base.registry import TRAINERS
from softprompt.core.config.load import load_config
from softprompt.core.meta.config import load_meta_config
from softprompt.core.meta.pairs.sources import open_pairs

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"^(?:pip install[^\n]*&& )?python ((?:tools/\w+\.py)[^\n#]*)", README, re.M)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.M | re.S)


def test_the_two_commands_open_the_readme():
    first = blocks("bash")[0]
    assert (
        'pip install -e ".[dev]" && python tools/train.py --config-file configs/prometar' in first
    )
    assert "python -m pytest" in first


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_names_what_exists(command):
    words = shlex.split(command)
    assert (ROOT / words[0]).is_file()
    for file in re.findall(r"configs/[\w/]+\.yaml", command):
        assert (ROOT / file).is_file(), file
    pairs = [word for word in words if re.fullmatch(r"[A-Z_]+(\.[A-Z0-9_]+)+", word)]
    if "--config-file" in words and pairs:
        config = words[words.index("--config-file") + 1]
        if (ROOT / config).is_file():
            values = {pair: words[words.index(pair) + 1] for pair in pairs}
            plugin = values.pop("PLUGINS", None)
            if plugin is None and "PLUGINS" not in words:
                load = load_meta_config if "/meta_" in config else load_config
                load(str(ROOT / config), pairs=[x for item in values.items() for x in item])


def test_a_table_that_is_named_is_there():
    named = re.findall(r"`([\w/]+\.csv)`", README)
    assert named and all((ROOT / file).is_file() for file in named), named


def test_the_plugin_example_runs(plugin_file, clip, batch, make_model, make_trainer):
    from softprompt.core.base.plugins import import_plugins

    example = next(block for block in blocks("python") if "TRAINERS.register" in block)
    assert len(example.splitlines()) <= 32
    import_plugins([str(plugin_file(example, "anchor.py"))])
    name = re.search(r'TRAINERS.register\("(\w+)"\)', example)[1]
    assert name in TRAINERS
    trainer = make_trainer(name, make_model("maple", clip))
    losses = [sum(trainer.step(batch).values()).item() for _ in range(5)]
    assert losses[-1] < losses[0]
    assert all(torch.isfinite(value).all() for value in trainer.model.params().values())


def test_the_captions_for_eurosat_are_pairs(tmp_path, monkeypatch):
    for kind in ("AnnualCrop", "River"):
        (tmp_path / "DATA/eurosat/2750" / kind).mkdir(parents=True)
        for number in range(210):
            (tmp_path / "DATA/eurosat/2750" / kind / f"{kind}_{number}.jpg").touch()
    monkeypatch.chdir(tmp_path)
    exec(next(block for block in blocks("python") if "eurosat" in block), {})
    pairs = open_pairs("captions.csv", "DATA/eurosat", max_skipped=0)
    assert len(pairs) == 400
    assert all(("annual crop" if i < 200 else "river") in pairs.caption(i) for i in range(400))


def test_every_method_has_a_row():
    for name in TRAINERS.names():
        assert f"`{name}`" in README, f"the README does not list the trainer {name}"


def test_every_folder_of_configs_is_named():
    for folder in (ROOT / "configs").iterdir():
        if folder.name not in ("base", "datasets"):
            assert folder.name in README
