"""The line in a run's log that names the fast paths it takes, and what each decides by."""

import pytest
import torch

from softprompt.core.base import parallel
from softprompt.core.clip.fast import sharded, store
from softprompt.core.clip.fast.store import FeatureStore
from softprompt.core.clip.fast.taken import describe


def parts_of(model, batch_size: int = 8, feature_store: FeatureStore | None = None) -> list[str]:
    line = describe(model, batch_size, feature_store)
    assert line.startswith("fast paths: ")
    return line.removeprefix("fast paths: ").split(", ")


@pytest.mark.parametrize(
    ("learner", "options", "text"),
    [
        ("coop", {}, "text ragged in 1 chunk"),
        ("coop", {"csc": True}, "text padded in 1 chunk"),
        ("coop", {"class_token_position": "front"}, "text padded in 1 chunk"),
        ("cocoop", {}, "text ragged in 1 chunk"),
        ("vpt", {}, "text encoded once"),
    ],
)
def test_the_text_path_follows_the_prompts(learner, options, text, make_clip, make_model):
    model = make_model(learner, make_clip(), **options)
    own, images, onednn, kept, sharding = parts_of(model)
    assert (own, images, kept) == (text, "images in 1 chunk", "feature store off")
    assert onednn == f"oneDNN {'on' if model.clip.onednn else 'off'}" and sharding == "sharding off"


def test_a_limit_of_memory_makes_chunks(make_clip, make_model):
    clip = make_clip()
    clip.memory_limit = 1e-4
    text, images, *_ = parts_of(make_model("ivlp", clip))
    assert text == "text ragged in 3 chunks" and images == "images in 8 chunks"
    with torch.no_grad():
        assert parts_of(make_model("ivlp", clip))[1] == "images in 1 chunk"


def test_processes_and_the_store_are_named(clip, make_model, monkeypatch):
    assert store.applies("", several=True) and store.applies("folder", several=False)
    assert not store.applies("", several=False)
    monkeypatch.setattr(parallel, "world_size", lambda: 2)
    assert not store.applies("folder", several=True)
    assert sharded.applies(2) and not sharded.applies(1)
    model = make_model("coop", clip)
    *_, kept, sharding = parts_of(model, 8, FeatureStore())
    assert (kept, sharding) == ("feature store on", "sharding over 2 processes")
    assert parts_of(model, 1)[-1] == "sharding over 2 processes"  # of the classes


def test_chunks_are_those_of_one_process(make_clip, make_model, monkeypatch):
    clip = make_clip()
    clip.memory_limit = 1e-4
    monkeypatch.setattr(parallel, "world_size", lambda: 2)
    assert parts_of(make_model("ivlp", clip))[1] == "images in 4 chunks"
