"""The suite itself: the same ids in every process, collected in seconds."""

import json
import os
import subprocess
import sys
from itertools import groupby

import pytest

# What a test imports when it runs, since each takes a second or more.
HEAVY = ("torchvision", "open_clip", "timm", "sklearn", "scipy", "torchmetrics", "tensorboard")
HEAVY += ("matplotlib", "ray", "faiss", "webdataset")
COLLECT = f"""
import json, sys, pytest

class Ids:
    def pytest_collection_finish(self, session):
        heavy = [name for name in {HEAVY} if name in sys.modules]
        print(json.dumps({{"ids": [item.nodeid for item in session.items], "heavy": heavy}}))

sys.exit(pytest.main(["--collect-only", "-qq", "-p", "no:cacheprovider"], plugins=[Ids()]))
"""


def by_file(ids: list[str]) -> dict[str, list[str]]:
    return {file: list(own) for file, own in groupby(ids, lambda name: name.partition("::")[0])}


@pytest.mark.slow
def test_every_process_collects_the_same_and_imports_nothing_heavy(request, root):
    """Another process, whose sets have another order, against all that this one has collected."""
    done = subprocess.run(
        [sys.executable, "-c", COLLECT],
        env={**os.environ, "PYTHONHASHSEED": "12345"},
        capture_output=True,
        text=True,
        cwd=root,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    assert found["heavy"] == [] and len(found["ids"]) > 2000
    others = by_file(found["ids"])
    for file, ours in by_file([item.nodeid for item in request.session.items]).items():
        chosen = set(ours)  # some may be deselected here
        assert [name for name in others[file] if name in chosen] == ours


def test_learners_that_train_are_known_without_a_clip(request, root, clip):
    conftest = request.config.pluginmanager.get_plugin(str(root / "tests" / "conftest.py"))
    sizes = conftest.Sizes()
    for name in ("dim", "text_width", "image_width", "text_depth", "image_depth"):
        assert getattr(sizes, name) == getattr(clip, name)
    assert sizes.embed_words("a").shape[1:] == clip.embed_words("a").shape[1:]
    assert sizes.name == clip.name
    assert conftest.trained_learners(sizes) == conftest.trained_learners(clip)
