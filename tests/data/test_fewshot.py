"""CoOp's few-shot draw and class halves, against published lists and the real split files."""

import hashlib
import json
from functools import cache
from pathlib import Path

import pytest

from softprompt.core.base.errors import UserError
from softprompt.core.data.dataset import Item
from softprompt.core.data.fewshot import (
    balanced_sample,
    check_every_class,
    choose_classes,
    class_subset,
    draw_shots,
    list_sha256,
)
from softprompt.core.data.splits import PUBLISHED, read_bytes, read_split

HERE = Path(__file__).resolve().parents[1] / "golden"
GOLDEN = json.loads((HERE / "fewshot_sha256.json").read_text())
FILES = {
    "caltech101": "split_zhou_Caltech101.json",
    "dtd": "split_zhou_DescribableTextures.json",
    "eurosat": "split_zhou_EuroSAT.json",
    "oxford_flowers": "split_zhou_OxfordFlowers.json",
    "oxford_pets": "split_zhou_OxfordPets.json",
    "stanford_cars": "split_zhou_StanfordCars.json",
    "ucf101": "split_zhou_UCF101.json",
}
DRAWS = [(name, key) for name in FILES for key in GOLDEN["datasets"][name] if "seed" in key]


@cache
def published(name: str):
    return read_split(PUBLISHED / f"{FILES[name]}.gz")


def shots_and_seed(key: str) -> tuple[int, int]:
    shots, seed = key.removeprefix("shot_").split("-seed_")
    return int(shots), int(seed)


def test_golden_covers_seven_datasets():
    assert len(DRAWS) == 70


@pytest.mark.parametrize(("name", "key"), DRAWS)
def test_draw_equals_the_published_list(name, key):
    classnames, splits = published(name)
    drawn = draw_shots(splits, *shots_and_seed(key))
    expected = GOLDEN["datasets"][name][key]
    assert [len(drawn["train"]), len(drawn["val"])] == expected["n"]
    assert list_sha256(drawn["train"], classnames) == expected["train"]
    assert list_sha256(drawn["val"], classnames) == expected["val"]
    assert drawn["test"] == splits["test"]


@pytest.mark.parametrize("name", FILES)
def test_whole_lists_equal_the_published_ones(name):
    classnames, splits = published(name)
    found = {split: list_sha256(items, classnames) for split, items in splits.items()}
    assert found == GOLDEN["datasets"][name]["split"]


@pytest.mark.parametrize("line", (HERE / "coop_splits.sha256").read_text().splitlines())
def test_packaged_files_are_the_published_ones(line):
    sha256, file = line.split()
    packed = PUBLISHED / f"{file}.gz"
    assert hashlib.sha256(read_bytes(packed)).hexdigest() == sha256
    assert packed.read_bytes()[3:8] == bytes(5)  # neither a name nor a time stamp


# classes, train, val, test, base classes, base test, new test, last base class, first new class
SIZES = {
    "caltech101": (100, 4128, 1649, 2465, 50, 1549, 916, "helicopter", "ibis"),
    "dtd": (47, 2820, 1128, 1692, 24, 864, 828, "marbled", "matted"),
    "eurosat": (10, 13500, 5400, 8100, 5, 4200, 3900, "Industrial Buildings", "Pasture Land"),
    "oxford_flowers": (102, 4093, 1633, 2463, 51, 1053, 1410, "petunia", "wild pansy"),
    "oxford_pets": (37, 2944, 736, 3669, 19, 1881, 1788, "keeshond", "leonberger"),
    "stanford_cars": (
        (196, 6509, 1635, 8041, 98, 4002, 4039)
        + ("1998 Eagle Talon Hatchback", "2012 FIAT 500 Abarth")
    ),
    "ucf101": (101, 7639, 1898, 3783, 51, 1934, 1849, "Long_Jump", "Lunges"),
}


@pytest.mark.parametrize("name", SIZES)
def test_sizes_and_halves(name):
    classnames, splits = published(name)
    base, new = (class_subset(len(classnames), half) for half in ("base", "new"))
    tests = [choose_classes(splits["test"], half) for half in (base, new)]
    assert SIZES[name] == (
        len(classnames),
        *(len(splits[split]) for split in ("train", "val", "test")),
        len(base),
        *map(len, tests),
        classnames[base[-1]],
        classnames[new[0]],
    )
    assert {item.label for item in tests[1]} == set(range(len(new)))


@pytest.mark.parametrize(("name", "first"), [("oxford_flowers", 76), ("stanford_cars", 13)])
def test_draw_keeps_the_order_of_first_appearance(name, first):
    _, splits = published(name)
    labels = [item.label for item in draw_shots(splits, 1, 1)["train"]]
    assert labels[0] == first
    assert labels == list(dict.fromkeys(item.label for item in splits["train"]))


def items(*labels: int) -> list[Item]:
    return [Item(f"{label}/{index}.jpg", label) for index, label in enumerate(labels)]


def test_a_class_with_too_few_pictures_keeps_them_and_draws_nothing():
    splits = {"train": items(0, 0, 1, 1, 1, 1), "val": items(0, 1), "test": items(0, 1)}
    drawn = draw_shots(splits, 3, 1)["train"]
    assert drawn[:2] == splits["train"][:2]
    without = draw_shots({**splits, "train": splits["train"][2:]}, 3, 1)["train"]
    assert drawn[2:] == without


def test_a_val_that_is_the_test_set_is_not_drawn_from():
    test = items(0, 0, 0, 1, 1, 1)
    drawn = draw_shots({"train": items(0, 0, 1, 1), "val": test, "test": test}, 1, 1)
    assert len(drawn["train"]) == 2
    assert drawn["val"] == test


def test_all_pictures_without_shots():
    splits = {"train": items(0, 0, 1), "val": [], "test": items(1)}
    assert draw_shots(splits, -1, 1) == splits


def test_base_and_new_are_parts_of_one_draw():
    classnames, splits = published("dtd")
    drawn = draw_shots(splits, 2, 3)["train"]
    halves = [choose_classes(drawn, class_subset(len(classnames), s)) for s in ("base", "new")]
    assert {item.path for half in halves for item in half} == {item.path for item in drawn}


def test_balanced_sample_is_even_and_always_the_same():
    listed = items(*[0] * 10, *[1] * 10, 2)
    sample = balanced_sample(listed, 9)
    assert [sum(item.label == label for item in sample) for label in range(3)] == [4, 4, 1]
    assert sample == balanced_sample(listed, 9)
    assert balanced_sample(listed, 0) == balanced_sample(listed, 99) == listed


def test_missing_classes_are_named():
    with pytest.raises(UserError, match="class 'cat' has no picture in the train split"):
        check_every_class(items(0, 2), ("ant", "cat", "dog"), "train")
    with pytest.raises(UserError, match="no picture in the train split"):
        check_every_class([], ("ant", "cat"), "train")


@pytest.fixture
def main(load_tool):
    return load_tool("list_fewshot").main


def test_tool_prints_hashes_in_the_form_of_the_reference(main, capsys):
    split = str(PUBLISHED / f"{FILES['eurosat']}.gz")
    assert main(["--split", split, "--shots", "16", "--seed", "2", "--sha256"]) == 0
    printed = json.loads(capsys.readouterr().out)
    key = "shot_16-seed_2"
    assert printed == {key: GOLDEN["datasets"]["eurosat"][key]}


def test_tool_prints_the_lists(main, capsys):
    split = str(PUBLISHED / f"{FILES['eurosat']}.gz")
    assert main(["--split", split, "--shots", "1", "--seed", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "# train: 10" and lines[11] == "# val: 10"
    text = "".join(f"{line}\n" for line in lines[1:11])
    expected = GOLDEN["datasets"]["eurosat"]["shot_1-seed_1"]["train"]
    assert hashlib.sha256(text.encode()).hexdigest() == expected


@pytest.mark.parametrize(
    ("split", "shots", "message"),
    [
        ("/nowhere/split.json", "1", "no split file /nowhere/split.json"),
        (__file__, "0", "argument --shots: 0 is less than 1"),
    ],
)
def test_tool_ends_in_one_line(main, capsys, split, shots, message):
    assert main(["--split", split, "--shots", shots, "--seed", "1"]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
