"""Prompts evaluated on a dataset that lacks some of their classes, or adds others."""

import json
from pathlib import Path

import pytest
from PIL import Image

from softprompt.core.base.errors import UserError
from softprompt.core.config.load import load_config
from softprompt.core.engine.checkpoint import find_prompts, load_prompts
from softprompt.core.engine.run import evaluate, train
from softprompt.core.prompts.coop import CoOp

SOURCE = {
    "n01440764": "tench",
    "n01443537": "goldfish",
    "n01484850": "great white shark",
    "n01491361": "tiger shark",
}
SETTINGS = [
    *("PROMPT.NAME", "coop", "PROMPT.COOP.N_CTX", "2", "TRAINER.NAME", "erm"),
    *("DATASET.NUM_SHOTS", "1", "OPTIM.MAX_EPOCH", "2", "OPTIM.WARMUP_EPOCH", "0"),
    *("INPUT.PIXEL_MEAN", "(0, 0, 0)", "INPUT.PIXEL_STD", "(1, 1, 1)"),
]


@pytest.fixture
def disk(tmp_path) -> Path:
    """ImageNet with four classes; ImageNet-A with the second and the fourth of them."""
    for place in ("images/train", "images/val"):
        for index, wnid in enumerate(SOURCE):
            put(tmp_path / "imagenet" / place / wnid / "0.JPEG", index)
    for index, wnid in enumerate(("n01491361", "n01443537")):
        put(tmp_path / "imagenet-adversarial" / "imagenet-a" / wnid / "0.jpg", index)
    (tmp_path / "imagenet-adversarial" / "imagenet-a" / "README.txt").write_text("no class")
    return tmp_path


def put(file: Path, index: int) -> None:
    file.parent.mkdir(parents=True)
    Image.new("RGB", (40, 40), (60 * index, 90, 20)).save(file)


@pytest.fixture
def load(disk, clip, monkeypatch):
    monkeypatch.setattr("softprompt.core.engine.shared.configured_clip", lambda _: clip)

    def load(dataset: str, *pairs: str):
        root = ["DATASET.NAME", dataset, "DATASET.ROOT", str(disk)]
        return load_config(pairs=[*SETTINGS, *root, *pairs])

    return load


@pytest.mark.parametrize("specific", ["False", "True"])
def test_imagenet_a_finds_its_classes_by_name(load, clip, disk, specific):
    run = disk / "run"
    csc = ["PROMPT.COOP.CSC", specific]
    trained = train(load("imagenet", "OUTPUT_DIR", str(run), *csc))
    assert trained["results"]["coop under erm"]["all"]["classes"] == 4
    found = evaluate(load("imagenet_a", *csc), str(run))
    (scores,) = [by for name, by in found["results"].items() if name.startswith("coop")]
    assert [entry["class"] for entry in scores["all"]["per_class"]] == ["goldfish", "tiger shark"]
    assert found["split"]["note"] == "2 of 200 classes are on the disk"
    assert json.loads((run / "eval" / "imagenet_a-all" / "results.json").read_text()) == found
    if specific == "True":  # the rows of these two classes, not the first two
        tensors, header = load_prompts(find_prompts(run))
        learner = CoOp(clip, tuple(header["classnames"]), n_ctx=2, csc=True)
        learner.load_state_dict(tensors)
        chosen = learner.for_classes(("goldfish", "tiger shark"))().text
        assert chosen.equal(tensors["context"][[1, 3]])


def test_a_class_that_the_target_adds(load, disk):
    put(disk / "imagenet-adversarial" / "imagenet-a" / "n01498041" / "0.jpg", 2)
    for specific in ("False", "True"):
        run, csc = disk / f"run{specific}", ["PROMPT.COOP.CSC", specific]
        train(load("imagenet", "OUTPUT_DIR", str(run), *csc))
        if specific == "True":
            with pytest.raises(UserError, match="has none for 'stingray'"):
                evaluate(load("imagenet_a", *csc), str(run))
            continue
        found = evaluate(load("imagenet_a", *csc), str(run))
        names = [e["class"] for e in found["results"]["coop under erm"]["all"]["per_class"]]
        assert names == ["goldfish", "tiger shark", "stingray"]
