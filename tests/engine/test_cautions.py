"""What is legal, but surely unintended, is said in the log and in the results."""

import json

import pytest
from PIL import Image

from softprompt.core.base.errors import UserError
from softprompt.core.config.load import load_config
from softprompt.core.config.schema import defaults
from softprompt.core.data.dataset import Item
from softprompt.core.engine import cautions
from softprompt.core.engine.optim import Optim
from softprompt.core.engine.run import train

OPTIM = Optim(epochs=5, warmup_epochs=1)
ITEMS = [Item(str(index), label) for label, count in enumerate((4, 2, 3)) for index in range(count)]
NAMES = ("ant", "bee", "cat")


def test_nothing_is_said_of_what_is_in_order():
    assert cautions.of_training(ITEMS, NAMES, 2, OPTIM) == []
    assert cautions.of_training(ITEMS, NAMES, -1, OPTIM) == []


def test_classes_that_fall_short_are_named():
    (warning,) = cautions.of_training(ITEMS, NAMES, 4, OPTIM)
    assert "NUM_SHOTS is 4, but 2 of 3 classes have fewer" in warning
    assert warning.endswith("'bee' 2, 'cat' 3")


def test_a_long_list_is_cut():
    names = tuple(f"c{index}" for index in range(30))
    items = [Item("", label) for label in range(30)]
    (warning,) = cautions.of_training(items, names, 2, OPTIM)
    assert warning.endswith("'c19' 1 and 10 others")


@pytest.mark.parametrize(("warmup", "said"), [(4, False), (5, True), (6, True)])
def test_a_training_that_only_warms_up(warmup, said):
    optim = Optim(epochs=5, warmup_epochs=warmup)
    warnings = cautions.of_training(ITEMS, NAMES, 0, optim)
    assert bool(warnings) == said
    assert not said or "OPTIM.WARMUP_CONS_LR 1e-05" in warnings[0]


def test_a_warm_up_above_the_rate_itself():
    (warning,) = cautions.of_training(ITEMS, NAMES, 0, OPTIM.with_(warmup_lr=1.0))
    assert "the warm-up, is 1, above OPTIM.LR 0.002" in warning


def test_settings_that_do_not_fit_the_pictures():
    cfg = defaults()
    assert cautions.of_settings(cfg, 32) == []
    cfg.INPUT.TRANSFORMS, cfg.TEST.SPLIT = ("random_flip",), "train"
    larger, same, unlike = cautions.of_settings(cfg, 31)
    assert "TRAIN_X.BATCH_SIZE is 32, but there are 31 training pictures" in larger
    assert "tested on what they learn from" in same
    assert "INPUT.TRANSFORMS has no normalize" in unlike


def test_another_split_than_the_one_trained_on(tmp_path):
    def warnings(note: str, dataset: str = "folder") -> list[str]:
        return cautions.of_split(note, dataset, tmp_path)

    assert warnings("new") == []  # no results
    for text in ("{", "[]", "{}", '{"dataset": "folder", "split": 3}'):
        (tmp_path / "results.json").write_text(text)
        assert warnings("new") == []
    (tmp_path / "results.json").write_text(
        json.dumps({"dataset": "folder", "split": {"name": "test", "note": "old"}})
    )
    assert warnings("old") == [] == warnings("new", "dtd")
    assert "another split of folder (old)" in warnings("new")[0]


def test_pictures_that_need_an_option_stop_a_run_before_it_writes(root, tmp_path):
    for name in ("dog", "tree"):
        (tmp_path / "mine" / name).mkdir(parents=True)
        for index in range(2):
            Image.new("F", (8, 8), index).save(tmp_path / "mine" / name / f"{index}.tif")
    pairs = ["DATASET.NAME", "folder", "DATASET.FOLDER.PATH", "mine", "DATASET.ROOT", str(tmp_path)]
    pairs += ["MODEL.BACKBONE.PRETRAINED", "", "DATASET.SUBSAMPLE_CLASSES", "all"]
    out = ["TEST.CLASSES", "all", "OUTPUT_DIR", str(tmp_path / "run")]
    cfg = load_config(str(root / "configs" / "coop" / "tiny.yaml"), pairs=[*pairs, *out])
    with pytest.raises(UserError, match=r"tif .mode F. holds floating-point numbers"):
        train(cfg)
    assert not (tmp_path / "run").exists()


def test_own_pictures_say_so(load_tool, root, tmp_path, monkeypatch):
    """A class with fewer pictures than shots, one epoch of warm-up, and an older division."""
    monkeypatch.chdir(tmp_path)
    for name, count in (("ant", 10), ("bee", 4)):
        (tmp_path / "own" / name).mkdir(parents=True)
        for index in range(count):
            picture = Image.new("RGB", (32, 32), (20 * index, 9 * count, 0))
            picture.save(tmp_path / "own" / name / f"{index}.png")
    train = load_tool("train").main
    config = ["--config-file", str(root / "configs/coop/tiny.yaml"), "--root", str(tmp_path)]
    data = ["DATASET.NAME", "folder", "DATASET.FOLDER.PATH", "own", "MODEL.BACKBONE.PRETRAINED", ""]
    data += ["DATASET.SUBSAMPLE_CLASSES", "all", "TEST.CLASSES", "['all']"]
    few = ["DATASET.NUM_SHOTS", "4", "OPTIM.MAX_EPOCH", "1"]
    assert train([*config, "--output-dir", "run", *data, *few]) == 0
    file = tmp_path / "run" / "results.json"
    found = json.loads(file.read_text())
    log = (tmp_path / "run" / "log.txt").read_text()
    for said in ("1 of 2 classes have fewer training pictures: 'bee' 2", "the warm-up's rate"):
        assert sum(said in warning for warning in found["warnings"]) == 1
        assert log.count(said) == 1
    assert "of each class" in found["split"]["note"]

    found["split"]["note"] = "non-standard split: 50/20/30 by a hash of each picture's path"
    file.write_text(json.dumps(found))
    assert train(["--eval-only", "--model-dir", "run"]) == 0
    (again,) = (tmp_path / "run" / "eval").rglob("results.json")
    assert "on another split of folder" in json.loads(again.read_text())["warnings"][-1]
