"""MODEL.BACKBONE.QUICK_GELU: from the weights' entry or file, or else said to be assumed."""

import json

import pytest
import torch

from softprompt.core.clip.activation import activation_of, choose
from softprompt.core.clip.build import build_clip, warnings_of
from softprompt.core.clip.weight_files import SIZES, WeightFile, read_weights

OPENAI, SILENT = WeightFile("a.pt", {}, True), WeightFile("a.pt", {})


@pytest.mark.parametrize(
    ("name", "given", "entry", "file", "quick"),
    [
        ("ViT-B-32", "auto", {"quick_gelu": True}, None, True),  # a tag has its own
        ("ViT-B/32", "auto", {"hf_hub": "laion/"}, None, False),
        ("ViT-B-32", "auto", {}, OPENAI, True),  # and OpenAI's archive
        ("ViT-B/32", "auto", {}, WeightFile("a.pt", {}, False), False),
        ("ViT-B/32", "off", {}, SILENT, False),
        ("ViT-B-32", "on", {}, SILENT, True),
        ("ViT-B/32", "auto", {}, None, True),  # random weights
        ("RN50", "auto", {}, SILENT, True),  # all of its weights have it
        ("ViT-B-16-SigLIP", "auto", {}, SILENT, False),  # none has
    ],
)
def test_what_is_known_is_taken_without_a_word(name, given, entry, file, quick):
    assert choose(name, given, entry, file) == (quick, "")


@pytest.mark.parametrize(
    ("name", "quick"), [("ViT-B/32", True), ("ViT-B-32-quickgelu", True), ("ViT-B-32", False)]
)
def test_an_assumption_is_said(name, quick):
    found = choose(name, "auto", {}, SILENT)
    assert found.quick == quick
    assert found.caution.startswith("a.pt does not say which activation")
    assert f"{'QuickGELU' if quick else 'GELU'} is assumed, after the name {name}" in found.caution
    assert "set MODEL.BACKBONE.QUICK_GELU on" in found.caution


@pytest.mark.parametrize(("entry", "file"), [({"quick_gelu": True}, None), ({}, OPENAI)])
def test_a_contradiction_is_said(entry, file):
    found = choose("ViT-B-32", "off", entry, file)
    assert found == (False, found.caution)
    assert "QUICK_GELU is off, but these weights were trained with it on" in found.caution


def test_files_that_say_it(tmp_path):
    one, file = {"logit_scale": torch.zeros(())}, tmp_path / "weights.pt"
    torch.save({**one, **{name: torch.tensor(1) for name in SIZES}}, file)
    assert read_weights(str(file)).quick_gelu is True
    torch.save(one, file)
    assert read_weights(str(file)).quick_gelu is None
    own = tmp_path / "open_clip_pytorch_model.bin"
    torch.save(one, own)
    for config, quick in ({"quick_gelu": True}, True), ({}, False):
        (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
        assert read_weights(str(own)).quick_gelu is quick
    assert read_weights(str(file)).quick_gelu is None  # it lies beside another one's
    torch.save({"vision_model.embeddings.class_embedding": torch.zeros(1)}, file)
    towers = ("text_config", "vision_config")
    for said, quick in (("gelu", False), ("quick_gelu", True)):
        config = {"model_type": "clip", **dict.fromkeys(towers, {"hidden_act": said})}
        (tmp_path / "config.json").write_text(json.dumps(config))
        assert read_weights(str(file)).quick_gelu is quick
    (tmp_path / "config.json").write_text("[]")
    assert read_weights(str(file)).quick_gelu is None


def test_the_towers_have_it_and_a_reader_is_told():
    for given, label in ("auto", "QuickGELU"), ("on", "QuickGELU"), ("off", "GELU"):
        clip = build_clip("tiny", "tiny", quick_gelu=given)
        assert activation_of(clip.model) == label
        said = "".join(warnings_of(clip, ()))
        assert said.startswith("MODEL.BACKBONE.QUICK_GELU is off") == (given == "off")
    assert not build_clip("tiny", "", quick_gelu="off").caution
