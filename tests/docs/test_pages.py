"""What the README and the pages of the site tell people to type, to save and to look up."""

import argparse
import importlib
import itertools
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import yaml

from softprompt.core.base.cli import split_pairs
from softprompt.core.base.plugins import import_plugins
from softprompt.core.base.registry import DATASETS, PROMPT_LEARNERS, TRAINERS
from softprompt.core.config.load import load_config
from softprompt.core.data.dataset import SPLITS
from softprompt.core.meta.config import load_meta_config
from softprompt.core.meta.pairs.sources import open_pairs

ROOT = Path(__file__).resolve().parents[2]
FILES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
FILES += sorted((ROOT / "docs").rglob("*.md"))
TEXTS = {str(file.relative_to(ROOT)): file.read_text(encoding="utf-8") for file in FILES}
# Words that begin a command which is not a tool's, and that no test runs.
OTHERS = ("pre-commit", "tensorboard", "source", "python -m venv", "python -m pytest", "mkdocs")


class Block(NamedTuple):
    page: str
    language: str
    title: str  # the file that the reader saves it as; "": none
    text: str


def blocks() -> list[Block]:
    pattern = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.M | re.S)
    return [Block(page, *found) for page, text in TEXTS.items() for found in pattern.findall(text)]


BLOCKS = blocks()
EXAMPLES = {(block.page, block.title): block.text for block in BLOCKS if block.title}


def commands() -> list:
    """Return each command of the bash blocks, with the assignments that stand before it."""
    found = []
    for block in BLOCKS:
        lines = block.text.splitlines() if block.language == "bash" else []
        before = [line for line in lines if re.match(r"[A-Z]+=\S*(\(.*\)|\".*\")$", line)]
        for line in lines:
            for command in line.split(" && ") if line not in before else []:
                number = len(found)
                found.append(pytest.param(block.page, before, command, id=f"{block.page}-{number}"))
    return found


class Parsed(BaseException):
    """A tool has taken its arguments; no error, which a tool would tell in one line."""


@pytest.fixture
def arguments_are_all(monkeypatch):
    """End a tool where its arguments are parsed."""
    for name in ("parse_args", "parse_intermixed_args"):
        parse = getattr(argparse.ArgumentParser, name)

        def parse_and_end(self, *args, parse=parse, **kwargs):
            raise Parsed(parse(self, *args, **kwargs))

        monkeypatch.setattr(argparse.ArgumentParser, name, parse_and_end)


def words_of(before: list[str], command: str) -> list[str]:
    """Return the words of a command as bash hands them over."""
    script = "\n".join([*before, f"printf '%s\\n' {command}"])
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(("page", "before", "command"), commands())
def test_a_command_works_as_far_as_it_costs_nothing(
    page, before, command, plugin_file, arguments_are_all, monkeypatch
):
    words = words_of(before, command)
    if words[:2] == ["torchrun", "--nproc-per-node"]:
        words = ["python", *words[3:]]
    while re.fullmatch(r"[A-Z]+=.*", words[0]):
        del words[0]
    if words[0] == "pip":
        extras = set(re.findall(r"[a-z]+", "".join(re.findall(r"\[(.*)\]", command))))
        offered = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.M)
        assert words[:2] == ["pip", "install"] and extras <= set(offered)
    elif words[0] == "make":
        assert f"\n{words[1]}:\n" in (ROOT / "Makefile").read_text()
    elif words[0].startswith(("tools/", ".ci/")):
        check_script(words)
    elif words[0] == "python" and words[1].startswith("tools/"):
        words = [
            word if (page, word) not in EXAMPLES else str(plugin_file(EXAMPLES[page, word], word))
            for word in words
        ]
        monkeypatch.setattr(sys, "argv", words[1:])
        with pytest.raises(Parsed):
            runpy.run_path(str(ROOT / words[1]), run_name="__main__")
        check_configuration(words[2:])
    elif words[0] == "python" and (page, words[1]) in EXAMPLES:
        pass  # run below
    else:
        assert command.startswith(OTHERS), f"no test knows {command!r}"


def check_script(words: list[str]) -> None:
    """A protocol's script, its configuration and the datasets are there."""
    script, *rest = words
    assert (ROOT / script).is_file()
    if rest:
        config, *datasets = itertools.takewhile(lambda word: word != "--", rest)
        load_config(str(ROOT / config))
        for name in datasets:
            shipped = (ROOT / "configs" / "datasets" / f"{name}.yaml").is_file()
            assert shipped or any(title == name for _, title in EXAMPLES), name


def check_configuration(arguments: list[str]) -> None:
    """The configurations that a tool is given can be loaded, with what is changed in them."""
    words, pairs = split_pairs(arguments)
    start = words.index("--config-file") + 1 if "--config-file" in words else len(words)
    names = itertools.takewhile(lambda word: not word.startswith("--"), words[start:])
    for name in names:
        if "configs/" in name:
            load = load_meta_config if "/meta_" in name else load_config
            load(str(ROOT / name), pairs=pairs)
    for name in re.findall(r"configs/datasets/\w+\.yaml", " ".join(words)):
        assert (ROOT / name).is_file(), name


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block.page}-{block.language}")
def test_code_is_code(block):
    if block.language == "python":
        compile(block.text, block.title or block.page, "exec")
    elif block.language == "yaml":
        assert yaml.safe_load(block.text)
    else:
        assert block.language in ("bash", "text", "toml")


def with_code(code: str) -> list:
    return [
        pytest.param(title, text, id=f"{page}-{title}")
        for (page, title), text in EXAMPLES.items()
        if code in text
    ]


@pytest.mark.parametrize(("title", "text"), with_code("@TRAINERS.register"))
def test_a_trainer_of_the_pages_trains(
    title, text, plugin_file, clip, batch, make_model, make_trainer
):
    import_plugins([str(plugin_file(text, title))])
    name = re.search(r'TRAINERS.register\("(\w+)"\)', text)[1]
    assert name in TRAINERS
    trainer = make_trainer(name, make_model("maple", clip))
    losses = []
    for _ in range(5):
        terms = trainer.step(batch)
        losses.append((terms["loss"] if "loss" in terms else sum(terms.values())).item())
    assert losses[-1] < losses[0]
    assert all(torch.isfinite(value).all() for value in trainer.model.params().values())


def test_the_readme_and_the_page_have_one_trainer():
    page, readme = EXAMPLES["docs/start/own-method.md", "anchor.py"], TEXTS["README.md"]
    assert f'```python title="anchor.py"\n{page}```' in readme and len(page.splitlines()) <= 32


@pytest.mark.parametrize("trainer", ["erm", "prometar"])
@pytest.mark.parametrize(("title", "text"), with_code("@PROMPT_LEARNERS.register"))
def test_a_learner_of_the_pages_is_trained(
    trainer, title, text, plugin_file, clip, batch, make_model, make_trainer
):
    import_plugins([str(plugin_file(text, title))])
    name = re.search(r'PROMPT_LEARNERS.register\("(\w+)"\)', text)[1]
    assert name in PROMPT_LEARNERS
    trained = make_trainer(trainer, make_model(name, clip))
    before = {name: value.clone() for name, value in trained.model.params().items()}
    trained.step(batch)
    assert any(not value.equal(before[n]) for n, value in trained.model.params().items())


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """What make_pictures.py makes, below DATA in the folder where we are then."""
    monkeypatch.chdir(tmp_path)
    exec(EXAMPLES["docs/start/own-dataset.md", "make_pictures.py"], {})
    return tmp_path


def test_the_dataset_of_the_pages_is_one(pictures, plugin_file):
    text = EXAMPLES["docs/start/own-dataset.md", "labelled.py"]
    import_plugins([str(plugin_file(text, "labelled.py"))])
    dataset = DATASETS["labelled"]("DATA")
    assert len(dataset.classnames) == 6
    for split in SPLITS:
        items = dataset.splits()[split]
        assert len(items) == 120 and {item.label for item in items} == set(range(6))
        assert dataset.reader()(items[0].path).size == (64, 64)


@pytest.mark.slow
def test_trainer_learner_and_dataset_of_the_pages_combine(pictures, plugin_file):
    from softprompt.core.engine.run import train

    plugins = [
        str(plugin_file(EXAMPLES[f"docs/start/own-{kind}.md", f"{name}.py"], f"{name}.py"))
        for kind, name in (("method", "anchor"), ("learner", "tied"), ("dataset", "labelled"))
    ]
    pairs = "TRAINER.NAME anchor PROMPT.NAME tied DATASET.NAME labelled DATASET.ROOT DATA".split()
    pairs += ["OPTIM.MAX_EPOCH", "2", "OUTPUT_DIR", "run", "PLUGINS", repr(tuple(plugins))]
    found = train(load_config(str(ROOT / "configs/coop/tiny.yaml"), pairs=pairs))
    assert found["results"]["tied under anchor"]["base"]["accuracy"] > 50


@pytest.mark.slow
@pytest.mark.parametrize("title", ["one_run.py", "minimal_coop.py"])
def test_a_program_of_the_pages_runs(title, tmp_path, monkeypatch, capsys):
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    exec(EXAMPLES["docs/start/from-python.md", title], {})
    losses = [float(number) for number in re.findall(r"[\d.]+$", capsys.readouterr().out, re.M)]
    assert losses[-1] <= losses[0] if title == "minimal_coop.py" else losses[-1] > 20


def test_the_captions_for_eurosat_are_pairs(tmp_path, monkeypatch):
    for kind in ("AnnualCrop", "River"):
        (tmp_path / "DATA/eurosat/2750" / kind).mkdir(parents=True)
        for number in range(210):
            (tmp_path / "DATA/eurosat/2750" / kind / f"{kind}_{number}.jpg").touch()
    monkeypatch.chdir(tmp_path)
    exec(EXAMPLES["docs/guide/meta-learning.md", "captions.py"], {})
    pairs = open_pairs("captions.csv", "DATA/eurosat", max_skipped=0)
    assert len(pairs) == 400
    assert all(("annual crop" if i < 200 else "river") in pairs.caption(i) for i in range(400))


@pytest.mark.parametrize("page", TEXTS)
def test_what_a_page_names_is_there(page):
    text = TEXTS[page]
    for name in set(re.findall(r"\bsoftprompt\.(?:core|trainers|datasets)(?:\.\w+)*", text)):
        assert resolves(name), f"{page} names {name}"
    top = r"(?<![\w/.-])(?:core|trainers|datasets|configs|tools|tests|docs|softprompt|\.ci)/"
    for path in set(re.findall(rf"{top}[\w./*-]*", text)):
        assert list(ROOT.glob(path.rstrip("./"))), f"{page} names {path}"


def resolves(name: str) -> bool:
    """Whether a dotted name is a module, or something in one."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


@pytest.mark.parametrize("page", [file.name for file in FILES if file.parent == ROOT])
def test_links_of_the_top_files_lead_somewhere(page):
    """Those among the pages of the site are checked where it is built."""
    for target in re.findall(r"\]\(([^)\s]+)\)", TEXTS[page]):
        if not re.match(r"[a-z]+:", target):
            assert (ROOT / target.partition("#")[0]).exists(), f"{page} links to {target}"


def test_versions_agree():
    import softprompt

    for file in ("pyproject.toml", "CITATION.cff"):
        text = (ROOT / file).read_text()
        assert re.search(r'^version\W+([\d.]+)"?$', text, re.M)[1] == softprompt.__version__
