"""Several runs in one process: nothing that they share changes what they find."""

import json
from pathlib import Path

import pytest

from softprompt.core.clip.frozen import FrozenCLIP
from softprompt.core.config.load import load_config
from softprompt.core.engine.run import evaluate, train
from softprompt.core.engine.session import Session
from softprompt.core.engine.shared import Shared

ROOT = Path(__file__).resolve().parents[2]
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
    """What a run leaves, but for time and memory."""
    found = json.loads((folder / "results.json").read_text())
    for own in ("seconds", "processor_seconds", "peak_memory", "finished"):
        del found[own]
    (prompts,) = folder.glob("checkpoints/*/prompts.safetensors")
    return {
        "results": found,
        "metrics": (folder / "metrics.jsonl").read_text(),
        "prompts": prompts.read_bytes(),
    }


RUNS = [
    ("coop", ["SEED", "1"]),
    ("coop", ["SEED", "2", "TRAINER.NAME", "prograd", "INPUT.VIEWS", "2"]),
    ("cocoop", ["SEED", "1", "DATALOADER.TRAIN_X.BATCH_SIZE", "8"]),
    ("promptsrc", ["SEED", "3", "DATASET.SUBSAMPLE_CLASSES", "new"]),
]


@pytest.mark.slow
def test_runs_that_share_find_what_runs_alone_do(configuration, tmp_path):
    shared, cached = Shared(), ["CACHE.DIR", str(tmp_path / "cache")]
    ways = {"shared": ([], shared), "cached": (cached, None), "again": (cached, None)}
    for number, (method, pairs) in enumerate(RUNS):
        for way, (more, given) in ways.items():
            train(configuration(method, f"{way}{number}", *pairs, *more), shared=given)
    for number, (method, pairs) in reversed(list(enumerate(RUNS))):
        train(configuration(method, f"alone{number}", *pairs))
        alone = left_by(tmp_path / f"alone{number}")
        for way in ways:
            assert left_by(tmp_path / f"{way}{number}") == alone, (way, method, pairs)


def test_a_second_run_encodes_no_test_picture_and_no_sentence(configuration, tmp_path, monkeypatch):
    shared = Shared()
    first = train(configuration("coop", "one"), shared=shared)
    assert first["train"]["views"] == "another one each epoch"
    clip = shared.clip(configuration("coop", "two"))
    encoded, encode = [], clip.encode_image
    monkeypatch.setattr(clip, "encode_image", lambda *x: encoded.append(1) or encode(*x))
    monkeypatch.setattr(clip, "encode_in_chunks", pytest.fail)
    second = train(configuration("coop", "two", "SEED", "2", "INPUT.VIEWS", "1"), shared=shared)
    assert second["train"]["views"] == 1
    # Each training picture once: 10 classes by two shots, fewer than a batch.
    assert len(encoded) == 1
    assert second["results"]["zero-shot CLIP"] == first["results"]["zero-shot CLIP"]


def test_a_cache_serves_the_next_process(configuration, tmp_path, monkeypatch):
    cached = ["CACHE.DIR", str(tmp_path / "cache"), "TRAINER.NAME", "prometar"]
    cached += ["TRAINER.PROMETAR.EPISODE", "False"]
    found = train(configuration("coop", "one", *cached))
    monkeypatch.setattr(FrozenCLIP, "encode_in_chunks", pytest.fail)
    again = train(configuration("coop", "two", *cached))
    assert again["results"] == found["results"]
    assert again["config_hash"] == found["config_hash"]
    assert list((tmp_path / "cache").rglob("*.safetensors"))
    assert "cache" not in json.dumps(again["config"]).lower()


def test_model_and_dataset_are_made_once(configuration, tmp_path, monkeypatch):
    from softprompt.core.engine import shared as module

    built = []
    build = module.configured_clip
    monkeypatch.setattr(module, "configured_clip", lambda cfg: built.append(cfg) or build(cfg))
    shared = Shared()
    train(configuration("coop", "one"), shared=shared)
    train(configuration("vpt", "two", "SEED", "5"), shared=shared)
    evaluate(configuration("vpt", "three"), str(tmp_path / "two"), shared=shared)
    assert len(built) == 1
    limited = configuration("coop", "four", "MODEL.MEMORY_LIMIT", "0.5")
    assert shared.clip(limited).memory_limit == 0.5
    assert len(built) == 2
    arguments = ("shapes", "data", {})
    assert shared.dataset(*arguments) is shared.dataset(*arguments)
    assert len(shared._datasets) == 1


def test_sessions_that_share_a_clip_keep_their_own_stores(configuration, tmp_path):
    """The second, without a folder, once took the first one's away."""
    shared = Shared()
    kept = Session(configuration("coop", "a", "CACHE.DIR", str(tmp_path / "cache")), shared)
    plain = Session(configuration("coop", "b"), shared)
    assert kept.clip is plain.clip
    assert kept.store.folder == tmp_path / "cache" and plain.store.folder is None
    model = kept.model(kept.learner(("dog", "cat")), "base")
    assert model.store is kept.store
    model.zero_shot_text(["a photo of a {}."])
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("transforms", "workers"),
    [("(normalize,)", "0"), ("(random_resized_crop, normalize)", "2")],
)
def test_a_run_on_fixed_views_resumes_to_the_bit(
    configuration, tmp_path, monkeypatch, transforms, workers
):
    from softprompt.core.engine import loop

    pairs = ["INPUT.TRANSFORMS", transforms, "INPUT.VIEWS", "2", "OPTIM.MAX_EPOCH", "3"]
    pairs += ["DATALOADER.NUM_WORKERS", workers, "DATALOADER.TRAIN_X.BATCH_SIZE", "6"]
    whole = train(configuration("coop", "whole", *pairs))
    assert whole["train"]["views"] == (1 if transforms == "(normalize,)" else 2)

    save = loop.checkpoint.save

    def cut_off(folder, epoch, *rest):
        save(folder, epoch, *rest)
        if epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(loop.checkpoint, "save", cut_off)
        train(configuration("coop", "cut", *pairs))
    # What the other run has seen of the pictures is not there any more, or it is in a folder.
    train(configuration("coop", "cut", *pairs), resume=True)
    assert left_by(tmp_path / "cut") == left_by(tmp_path / "whole")
