"""The README is one page that opens with what works."""

import re
from pathlib import Path

from softprompt.core.base.registry import PROMPT_LEARNERS, TRAINERS

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_it_is_one_page():
    assert len(README.splitlines()) <= 150


def test_the_two_commands_open_it():
    first = re.search(r"^```bash\n(.*?)^```", README, re.M | re.S)[1]
    install, tests = first.splitlines()
    assert install == (
        'pip install -e ".[dev]" && python tools/train.py --config-file configs/prometar/tiny.yaml'
    )
    assert tests == "python -m pytest"


def test_every_method_has_a_row_and_a_page():
    for name in (*PROMPT_LEARNERS.names(), *TRAINERS.names()):
        assert f"[`{name}`](docs/methods/{name}.md)" in README, name
        assert (ROOT / "docs" / "methods" / f"{name}.md").is_file(), name


def test_every_folder_of_configs_is_named():
    methods = (ROOT / "docs" / "methods" / "index.md").read_text(encoding="utf-8")
    for folder in (ROOT / "configs").iterdir():
        if folder.name not in ("base", "datasets"):
            assert f"`configs/{folder.name}`" in methods, folder.name
