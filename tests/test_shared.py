"""Several runs in one process: nothing that they share changes what they find."""

import json
from pathlib import Path

import pytest

from softprompt.core.config import load_config
from softprompt.core.run import evaluate, train
from softprompt.core.shared import Shared

ROOT = Path(__file__).resolve().parents[1]
QUICK = ["DATASET.NUM_SHOTS", "2", "OPTIM.MAX_EPOCH", "2", "TEST.MAX_IMAGES", "20"]
QUICK += ["MODEL.BACKBONE.PRETRAINED", ""]


@pytest.fixture
def configuration(tmp_path):
    def configuration(method: str, folder: str, *pairs: str):
        file = ROOT / "configs" / method / "tiny.yaml"
        flags = {"OUTPUT_DIR": str(tmp_path / folder)}
        return load_config(str(file), flags=flags, pairs=[*QUICK, *pairs])

    return configuration


def left_by(folder: Path) -> dict:
    """What a run leaves, but for times and its own folder's name."""
    found = json.loads((folder / "results.json").read_text())
    del found["seconds"]
    (prompts,) = folder.glob("checkpoints/*/prompts.safetensors")
    return {
        "results": found,
        "metrics": (folder / "metrics.jsonl").read_text(),
        "prompts": prompts.read_bytes(),
    }


RUNS = [
    ("coop", ["SEED", "1"]),
    ("prometar", ["SEED", "1"]),
    ("coop", ["SEED", "2", "TRAINER.NAME", "prograd"]),
    ("cocoop", ["SEED", "2", "DATALOADER.TRAIN_X.BATCH_SIZE", "3"]),
    ("promptsrc", ["SEED", "3", "DATASET.SUBSAMPLE_CLASSES", "new"]),
]


def test_runs_that_share_find_what_runs_alone_do(configuration, tmp_path):
    shared = Shared()
    for number, (method, pairs) in enumerate(RUNS):
        train(configuration(method, f"shared{number}", *pairs), shared=shared)
    for number, (method, pairs) in reversed(list(enumerate(RUNS))):
        train(configuration(method, f"alone{number}", *pairs))
        alone = left_by(tmp_path / f"alone{number}")
        assert left_by(tmp_path / f"shared{number}") == alone, (method, pairs)


def test_model_and_dataset_are_made_once(configuration, tmp_path, monkeypatch):
    from softprompt.core import shared as module

    built = []
    build = module.build_clip
    monkeypatch.setattr(module, "build_clip", lambda *key: built.append(key) or build(*key))
    shared = Shared()
    train(configuration("coop", "one"), shared=shared)
    train(configuration("vpt", "two", "SEED", "5"), shared=shared)
    evaluate(configuration("vpt", "three"), str(tmp_path / "two"), shared=shared)
    assert len(built) == 1
    limited = configuration("coop", "four", "MODEL.MEMORY_LIMIT", "0.5")
    assert shared.clip(limited).memory_limit == 0.5
    assert len(built) == 2
    assert shared.dataset(limited) is shared.dataset(configuration("vpt", "five"))
