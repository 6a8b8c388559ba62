"""The install: one namespace, no generic top-level names, all assets aboard."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOAD = """
import softprompt.core
from importlib.resources import files
from softprompt.core.clip.build import build_clip
from softprompt.core.config.load import load_config
from softprompt.core.meta import learned
from softprompt.core.base.plugins import import_built_in
from softprompt.core.base.registry import DATASETS, PROMPT_LEARNERS, TRAINERS
import_built_in()
assert {where!r} in softprompt.core.__file__, softprompt.core.__file__
assert "prometar" in TRAINERS and "ivlp" in PROMPT_LEARNERS and "eurosat" in DATASETS
assert build_clip("tiny", "tiny").weights == "tiny"
names = DATASETS["shapes"]("").classnames
picture = DATASETS["shapes"]("").reader()(f"{{names[0]}}/0")
assert picture.size[0] >= 32
names = ("coop", "cocoop", "ivlp", "maple", "unigram", "vpt")
assert set(learned.embedded()) == {{f"{{name}}_tiny" for name in names}}
assert all(learned.load(name).prompts for name in learned.embedded())
for asset in (files("softprompt.core") / "assets" / "splits").iterdir():
    assert asset.read_bytes(), asset
"""


@pytest.mark.parametrize("folder", ["datasets", "trainers", "tests"])
def test_folders_that_must_not_be_packages(folder):
    """With an __init__.py, ``datasets`` would shadow Hugging Face's package of that name."""
    assert not (ROOT / folder / "__init__.py").exists()


def test_core_refuses_to_be_imported_under_another_name():
    done = subprocess.run(
        [sys.executable, "-c", "import core"], cwd=ROOT, capture_output=True, text=True
    )
    assert "import this package as softprompt.core, not as core" in done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A wheel of the checkout as it is, changes that are not committed included."""
    folder = tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    for name in filter(None, listed.split("\0")):
        place = folder / "source" / name
        if (ROOT / name).is_file():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps"]
    # torch depends on setuptools, so no other one has to be fetched.
    command += ["--no-build-isolation", "-w", str(folder), str(folder / "source")]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.mark.slow
def test_a_wheel_holds_one_namespace_and_all_assets(wheel, tmp_path):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"softprompt"}
    assets = ROOT / "core" / "assets"
    for asset in assets.rglob("*"):
        if asset.is_file() and "__pycache__" not in asset.parts:
            assert f"softprompt/core/assets/{asset.relative_to(assets).as_posix()}" in names
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = LOAD.format(where=str(tmp_path / "site"))
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r})\n{code}",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_the_repository_holds_no_large_file():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    for name in filter(None, listed.stdout.decode().split("\0")):
        file = ROOT / name
        if file.is_file():
            assert file.stat().st_size <= 6_000_000, name
