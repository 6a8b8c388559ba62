"""Few-shot lists on the disk: whole, of this very draw, or not used."""

import json
import multiprocessing
import os
from pathlib import Path

import pytest

from softprompt.core.base.errors import UserError
from softprompt.core.data import fewshot
from softprompt.core.data.dataset import Dataset, Item
from softprompt.core.data.fewshot import draw_shots, load_or_draw, split_sha256

NAMES = ("ant", "bee")


def lists(count: int = 20) -> dict[str, list[Item]]:
    return {
        split: [Item(f"{NAMES[n % 2]}/{split}{n}.jpg", n % 2) for n in range(count)]
        for split in ("train", "val", "test")
    }


@pytest.fixture
def dataset(tmp_path):
    class Insects(Dataset):
        folder = "insects"
        classnames = NAMES

    (tmp_path / "insects").mkdir()
    return Insects(tmp_path)


@pytest.fixture
def only_file(tmp_path):
    def only() -> Path:
        (file,) = (tmp_path / "insects" / "split_fewshot").iterdir()
        return file

    return only


def test_the_list_says_what_it_is_a_draw_of(dataset, only_file):
    splits = lists()
    drawn = load_or_draw(dataset, splits, 3, 1)
    assert drawn == draw_shots(splits, 3, 1)
    saved = json.loads(only_file().read_text())
    sha256 = split_sha256(splits, NAMES)
    assert only_file().name == f"shot_3-seed_1-{sha256[:12]}.json"
    assert {key: saved[key] for key in ("dataset", "split_sha256", "shots", "seed")} == {
        "dataset": "insects",
        "split_sha256": sha256,
        "shots": 3,
        "seed": 1,
    }
    assert saved["train"] == [[item.path, item.label, NAMES[item.label]] for item in drawn["train"]]
    assert len(saved["val"]) == 6 and "test" not in saved


def test_it_is_reused_if_all_agrees(dataset, only_file, monkeypatch):
    splits = lists()
    drawn = load_or_draw(dataset, splits, 3, 1)
    with monkeypatch.context() as patched:
        patched.setattr(fewshot, "draw_shots", None)  # would fail if it were called
        assert load_or_draw(dataset, splits, 3, 1) == drawn
    # Another list for the same draw, as one made elsewhere, is what is trained on.
    saved = json.loads(only_file().read_text())
    other = [[item.path, item.label, NAMES[item.label]] for item in splits["train"][:6]]
    only_file().write_text(json.dumps(saved | {"train": other}))
    assert load_or_draw(dataset, splits, 3, 1)["train"] == splits["train"][:6]


@pytest.mark.parametrize("change", ["shots", "seed", "split", "names"])
def test_another_draw_has_a_list_of_its_own(dataset, change, tmp_path):
    load_or_draw(dataset, lists(), 3, 1)
    splits, shots, seed = lists(), 3, 1
    if change == "split":
        splits["test"].pop()
    elif change == "names":
        dataset.classnames = ("ant", "wasp")
    else:
        shots, seed = {"shots": (4, 1), "seed": (3, 2)}[change]
    assert load_or_draw(dataset, splits, shots, seed) == draw_shots(splits, shots, seed)
    assert len(list((tmp_path / "insects" / "split_fewshot").iterdir())) == 2


@pytest.mark.parametrize("key", ["format", "dataset", "split_sha256", "shots", "seed"])
def test_a_list_that_says_otherwise_is_replaced(dataset, only_file, key):
    splits = lists()
    load_or_draw(dataset, splits, 3, 1)
    whole = only_file().read_text()
    only_file().write_text(json.dumps(json.loads(whole) | {key: 99, "train": []}))
    assert load_or_draw(dataset, splits, 3, 1) == draw_shots(splits, 3, 1)
    assert only_file().read_text() == whole


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"\xff", b'{"train": 3}'])
def test_a_damaged_list_is_replaced(dataset, only_file, damage):
    splits = lists()
    load_or_draw(dataset, splits, 3, 1)
    whole = only_file().read_text()
    only_file().write_bytes(damage)
    assert load_or_draw(dataset, splits, 3, 1) == draw_shots(splits, 3, 1)
    assert only_file().read_text() == whole


@pytest.mark.parametrize("row", [["ant/nowhere.jpg", 0, "ant"], ["ant/train0.jpg", 1, "ant"], [[]]])
def test_a_picture_that_the_split_lacks_is_named(dataset, only_file, row):
    load_or_draw(dataset, lists(), 3, 1)
    saved = json.loads(only_file().read_text())
    only_file().write_text(json.dumps(saved | {"train": [row]}))
    with pytest.raises(UserError, match="not in the train split of the dataset; remove the file"):
        load_or_draw(dataset, lists(), 3, 1)


def test_coops_pickles_are_never_opened(dataset, tmp_path):
    folder = tmp_path / "insects" / "split_fewshot"
    folder.mkdir()
    # Unpickling this makes a file.
    trap = f"cos\nsystem\n(S'touch {tmp_path}/sprung'\ntR."
    (folder / "shot_3-seed_1.pkl").write_text(trap)
    assert load_or_draw(dataset, lists(), 3, 1) == draw_shots(lists(), 3, 1)
    assert not (tmp_path / "sprung").exists()
    assert (folder / "shot_3-seed_1.pkl").read_text() == trap


def test_a_disk_that_cannot_be_written_to_is_drawn_from(dataset, tmp_path, monkeypatch, caplog):
    def refuse(*_args, **_kwargs):
        raise PermissionError

    monkeypatch.setattr(Path, "replace", refuse)
    assert load_or_draw(dataset, lists(), 3, 1) == draw_shots(lists(), 3, 1)
    assert not list((tmp_path / "insects" / "split_fewshot").iterdir())
    monkeypatch.setattr(Path, "mkdir", refuse)
    assert load_or_draw(dataset, lists(), 3, 1) == draw_shots(lists(), 3, 1)
    assert not caplog.text


def test_without_shots_or_a_folder_nothing_is_saved(dataset, tmp_path):
    load_or_draw(dataset, lists(), -1, 1)
    dataset.folder = ""
    assert load_or_draw(dataset, lists(), 2, 1) == draw_shots(lists(), 2, 1)
    assert not (tmp_path / "insects" / "split_fewshot").exists()


def test_a_val_that_is_the_test_set_is_not_listed(dataset, only_file):
    splits = lists()
    splits["val"] = splits["test"]
    drawn = load_or_draw(dataset, splits, 3, 1)
    assert "val" not in json.loads(only_file().read_text())
    assert load_or_draw(dataset, splits, 3, 1) == drawn == draw_shots(splits, 3, 1)


def test_runs_at_once_leave_one_whole_list(dataset, only_file):
    """Three processes save the same list again and again, and each always reads a whole one."""
    splits = lists(400)
    drawn = load_or_draw(dataset, splits, 100, 1)
    saved = {split: drawn[split] for split in ("train", "val")}
    file = only_file()
    key = {k: v for k, v in json.loads(file.read_text()).items() if k not in ("train", "val")}

    def hammer():
        for _ in range(50):
            fewshot._save(file, key, saved, NAMES)
            if fewshot._read(file, key) is None:
                os._exit(1)

    runs = [multiprocessing.get_context("fork").Process(target=hammer) for _ in range(3)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert [run.exitcode for run in runs] == [0, 0, 0]
    assert only_file() == file
    assert load_or_draw(dataset, splits, 100, 1) == drawn
