"""One's own pictures, in the states in which people have them."""

import logging
import os
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from softprompt.core.base.errors import UserError
from softprompt.core.base.registry import DATASETS


@pytest.fixture
def put(tmp_path):
    """Write pictures below ``pictures/``."""

    def write(*files: str) -> Path:
        for name in files:
            file = tmp_path / "pictures" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 4), "red").save(file, "PNG")
        return tmp_path / "pictures"

    return write


@pytest.fixture
def open_folder(tmp_path):
    return lambda path="pictures": DATASETS["folder"](tmp_path, path=path)


def many(*classes: str, count: int = 40) -> list[str]:
    return [f"{name}/{index}.png" for name in classes for index in range(count)]


def paths(dataset, split: str) -> list[str]:
    return [item.path for item in dataset.splits()[split]]


def fails(open_folder, path="pictures") -> str:
    with pytest.raises(UserError) as error:
        open_folder(path)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_split_folders(put, open_folder):
    put("train/dog/b.png", "train/dog/a.png", "train/cat/a.png", "val/cat/v.png", "test/dog/t.png")
    dataset = open_folder()
    assert dataset.classnames == ("cat", "dog")
    assert paths(dataset, "train") == ["train/cat/a.png", "train/dog/a.png", "train/dog/b.png"]
    assert [item.label for item in dataset.splits()["train"]] == [0, 1, 1]
    assert paths(dataset, "val") == ["val/cat/v.png"] and paths(dataset, "test") == [
        "test/dog/t.png"
    ]
    assert dataset.note == ""
    assert dataset.reader()("train/dog/a.png").size == (4, 4)


@pytest.mark.parametrize("missing", ["val", "test", "train"])
def test_a_split_may_be_missing_until_it_is_needed(missing, put, open_folder):
    kept = [split for split in ("train", "val", "test") if split != missing]
    put(*(f"{split}/{name}/a.png" for split in kept for name in ("cat", "dog")))
    assert {split: len(items) for split, items in open_folder().splits().items()} == {
        **dict.fromkeys(kept, 2),
        missing: 0,
    }


def sizes(dataset, label: int) -> list[int]:
    return [sum(item.label == label for item in items) for items in dataset.splits().values()]


def test_division_within_each_class(put, open_folder):
    put(*many("cat", count=30), *many("dog", count=200))
    dataset = open_folder()
    assert sizes(dataset, 0) == [15, 6, 9]
    assert sizes(dataset, 1) == [100, 40, 60]
    assert dataset.note == (
        "non-standard split: 50/20/30 of each class, by a hash of each picture's path"
    )
    # the same on every system
    assert paths(dataset, "val")[:3] == ["cat/14.png", "cat/15.png", "cat/16.png"]
    every = [path for split in ("train", "val", "test") for path in paths(dataset, split)]
    assert len(set(every)) == len(every) == 230


@pytest.mark.parametrize(
    ("count", "parts"),
    [
        (2, [1, 0, 1]),
        (3, [1, 1, 1]),
        (4, [2, 1, 1]),
        (5, [3, 1, 1]),
        (6, [3, 1, 2]),
        (7, [4, 1, 2]),
        (10, [5, 2, 3]),
        (16, [8, 3, 5]),
    ],
)
def test_a_class_is_in_all_parts_as_far_as_it_goes(count, parts, put, open_folder):
    put(*many("cat", "dog", count=count))
    assert sizes(open_folder(), 0) == sizes(open_folder(), 1) == parts


def test_pictures_of_other_classes_move_none(put, open_folder):
    put(*many("cat", "dog"))

    def division(split):
        return [path for path in paths(open_folder(), split) if not path.startswith("bird")]

    before = {split: division(split) for split in ("train", "val", "test")}
    put(*many("bird", count=17), *(f"bird/more/{index}.png" for index in range(8)))
    assert {split: division(split) for split in before} == before


def test_small_classes_have_a_picture_to_train_and_one_to_test(put, open_folder):
    names = [f"class{number}" for number in range(30)]
    put(*many(*names, count=2))
    dataset = open_folder()
    for split in ("train", "test"):
        assert {item.label for item in dataset.splits()[split]} == set(range(30))


def test_one_picture_cannot_be_divided(put, open_folder):
    put("cat/a.png", "cat/b.png", "dog/a.png")
    assert "the class 'dog' has one picture, dog/a.png" in fails(open_folder)


def test_a_class_may_be_called_train(put, open_folder):
    put(*many("bus", "car", "train", count=3))
    assert open_folder().classnames == ("bus", "car", "train")


@pytest.mark.parametrize("folder", ["dog", "train/dog"])
def test_empty_class_folder(folder, put, open_folder):
    pictures = put(*many(f"{folder[:-3]}cat", f"{folder[:-3]}cow"))
    (pictures / folder).mkdir()
    (pictures / folder / "list.txt").write_text("no picture")
    assert f"the class folder {pictures / folder} holds no picture (.bmp, " in fails(open_folder)


def test_no_class_folders(put, open_folder):
    pictures = put("a.png", "b.png")
    assert f"{pictures} holds the pictures themselves" in fails(open_folder)
    for file in pictures.iterdir():
        file.unlink()
    assert f"{pictures} has no folders" in fails(open_folder)


def test_pictures_directly_in_the_split_folders(put, open_folder):
    pictures = put("train/a.png", "test/b.png")
    assert f"{pictures / 'train'} holds the pictures themselves" in fails(open_folder)


@pytest.mark.parametrize(
    "files",
    [
        many("train/images/cat", "train/images/dog"),
        many("set/cat", "set/dog"),
        many("Train/cat", "Train/dog", "Test/cat", "Test/dog"),
        many("images/cat", "images/dog") + ["annotations/x/y.png"],
    ],
)
def test_class_folders_one_level_too_deep(files, put, open_folder):
    put(*files)
    message = fails(open_folder)
    assert "hold no pictures, but folders of them" in message
    assert "DATASET.FOLDER.PATH must be the folder above the class folders" in message


def test_one_class(put, open_folder):
    put(*many("cat"))
    assert "has one class, 'cat', but at least two are needed" in fails(open_folder)


def test_folders_inside_a_class_belong_to_it(put, open_folder):
    put("cat/a.png", "cat/more/b.png", "cat/more/c.png", "dog/a.png", "dog/b.png")
    dataset = open_folder()
    assert sum(len(items) for items in dataset.splits().values()) == 5


def test_what_is_ignored_is_said(put, open_folder, caplog):
    pictures = put(*many("cat", "dog"), "cat/.hidden.png", ".thumbs/a/b.png", "__MACOSX/x/._1.png")
    for name in ("cat/notes.txt", "dog/scan.pdf", "labels.csv", ".DS_Store", "cat/Thumbs.db"):
        (pictures / name).write_text("no picture")
    with caplog.at_level(logging.INFO, "softprompt"):
        dataset = open_folder()
    assert sum(len(items) for items in dataset.splits().values()) == 80
    (record,) = caplog.records
    assert "4 files or folders of no class, such as 'labels.csv'" in record.getMessage()


def test_folders_beside_the_split_folders_are_ignored(put, open_folder, caplog):
    put(*(f"{split}/{name}/a.png" for split in ("train", "valid", "test") for name in ("a", "b")))
    with caplog.at_level(logging.INFO, "softprompt"):
        assert paths(open_folder(), "val") == []
    assert "such as 'valid'" in caplog.text


def test_upper_case_suffixes(put, open_folder):
    put(
        "train/cat/A.PNG",
        "train/cat/b.JPEG",
        "train/dog/c.Jpg",
        "test/dog/d.TIFF",
        "test/cat/e.WebP",
    )
    assert [len(items) for items in open_folder().splits().values()] == [3, 0, 2]


def test_accents_are_one_name_on_every_system(put, tmp_path, open_folder):
    composed, apart = (unicodedata.normalize(form, "Bär/Übung {}.png") for form in ("NFC", "NFD"))
    assert composed != apart
    files = [f"train/{composed.format(1)}", f"test/{apart.format(2)}", "train/chat/1.png"]
    dataset = (put(*files), open_folder())[1]
    assert dataset.classnames == (unicodedata.normalize("NFC", "Bär"), "chat")
    assert paths(dataset, "test") == [files[1]]  # the path itself stays as the disk has it
    assert dataset.reader()(files[1]).size == (4, 4)


def test_accents_do_not_change_the_division(put, open_folder, tmp_path):
    found = []
    for form in ("NFC", "NFD"):
        folder = tmp_path / form
        put(
            *(
                f"../{form}/{name}"
                for name in map(lambda n: unicodedata.normalize(form, n), many("é", "ü"))
            )
        )
        dataset = open_folder(str(folder))
        found.append(
            {
                split: [unicodedata.normalize("NFC", path) for path in paths(dataset, split)]
                for split in dataset.splits()
            }
        )
    assert found[0] == found[1]


def test_names_that_are_not_utf8(put, open_folder):
    pictures = put(*many("cat", "dog"))
    try:
        os.rename(
            os.fsencode(pictures / "cat" / "0.png"), os.fsencode(pictures / "cat") + b"/\xff.png"
        )
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    assert "is not UTF-8" in fails(open_folder)


def test_links(put, open_folder, tmp_path):
    pictures = put(*many("cat", "dog"))
    (tmp_path / "elsewhere").mkdir()
    (pictures / "dog").rename(tmp_path / "elsewhere" / "dog")
    (pictures / "dog").symlink_to(tmp_path / "elsewhere" / "dog")
    (pictures / "cat" / "linked.png").symlink_to(tmp_path / "elsewhere" / "dog" / "0.png")
    (pictures / "cat" / "loop").symlink_to(pictures)
    assert sum(len(items) for items in open_folder().splits().values()) == 81
    (pictures / "cat" / "broken.png").symlink_to(tmp_path / "nothing.png")
    assert f"broken.png is a link to {tmp_path / 'nothing.png'}" in fails(open_folder)


def test_path_that_is_missing_or_no_folder(put, open_folder, tmp_path, monkeypatch):
    assert "DATASET.FOLDER.PATH is not set" in fails(open_folder, "")
    assert f"no folder {tmp_path / 'picture'}" in fails(open_folder, "picture")
    put(*many("cat", "dog"))
    assert "no folder" in fails(open_folder, "pictures/cat/0.png")
    monkeypatch.chdir(tmp_path / "pictures")
    assert f"so give {tmp_path / 'pictures' / 'cat'}" in fails(open_folder, "cat")


def test_options_of_the_config():
    from softprompt.core.config.options import options_of

    assert options_of(DATASETS["folder"]) == {"path": ""}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_no_picture(put, open_folder):
    pictures = put(*many("cat", "dog", count=3))
    os.mkfifo(pictures / "cat" / "pipe.png")
    assert sum(len(items) for items in open_folder().splits().values()) == 6


@pytest.mark.parametrize("place", [".", "cat", "cat/more"])
def test_a_folder_that_cannot_be_listed_is_named(place, put, open_folder, monkeypatch):
    pictures = put(*many("cat", "dog", "cat/more", count=3))
    scandir, listdir = os.scandir, os.listdir

    def guarded(usual):
        def list_(path="."):
            if Path(path) == pictures / place:
                raise PermissionError(13, "Permission denied", str(path))
            return usual(path)

        return list_

    monkeypatch.setattr(os, "scandir", guarded(scandir))
    monkeypatch.setattr(os, "listdir", guarded(listdir))
    assert f"the folder {pictures / place} cannot be listed: " in fails(open_folder)


def test_names_of_any_letters_and_signs_are_folders(put, open_folder):
    names = ("犬", "😀", "a'b", 'a"b', "$(rm)", "100%", "<b>", "{x}", "a&b", "n01440764")
    put(*many(*names, count=2))
    assert open_folder().classnames == tuple(sorted(names))
