"""Disks that are laid out nearly right: the error says where the pictures are."""

import json

import pytest
from PIL import Image

from softprompt.core.base.errors import UserError
from softprompt.core.base.registry import DATASETS
from softprompt.core.data import layout, splits

FOLDER = "eurosat/2750"
WNIDS = ("n01440764", "n03773504")


@pytest.fixture
def eurosat(tmp_path, monkeypatch):
    """EuroSAT in miniature; its split file and what it says."""
    monkeypatch.setattr(splits, "PUBLISHED", tmp_path / "none")  # to read that takes a second
    rows = [
        [f"{name}/{name[0]}_{index}.jpg", label, name]
        for label, name in enumerate(("AnnualCrop", "Forest"))
        for index in range(3)
    ]
    for path, *_ in rows:
        write_picture(tmp_path / FOLDER / path)
    file = tmp_path / "eurosat" / "split_zhou_EuroSAT.json"
    file.write_text(json.dumps({"train": rows[::3], "val": rows[1::3], "test": rows[2::3]}))
    return file


@pytest.fixture
def imagenet(tmp_path):
    """The folder of pictures of a miniature ImageNet."""
    for split in ("train", "val"):
        for wnid in WNIDS:
            write_picture(tmp_path / "imagenet" / "images" / split / wnid / "a.JPEG")
    return tmp_path / "imagenet" / "images"


def write_picture(file) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), "red").save(file, "JPEG")


def missing(root, name="eurosat") -> str:
    with pytest.raises(UserError) as error:
        DATASETS[name](root).splits()
    assert "\n" not in str(error.value)
    return str(error.value)


def move(place, to) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    place.rename(to)


def rewrite(file, change) -> None:
    tables = json.loads(file.read_text())
    changed = {s: [[change(path), *rest] for path, *rest in rows] for s, rows in tables.items()}
    file.write_text(json.dumps(changed))


def test_a_split_written_on_another_system(eurosat, tmp_path):
    content = eurosat.read_text()
    for change, says in (
        (lambda path: path.replace("/", "\\"), "its paths have backslashes, as on Windows"),
        (str.upper, f"in another case of letters it is there: {tmp_path / FOLDER}/AnnualCrop/A_0"),
        (lambda path: f"2750/{path}", "without 2750/ in front it is there"),
        (lambda path: f"data/x/2750\\{path}", "without data/x/2750/ in front it is there"),
    ):
        eurosat.write_text(content)
        rewrite(eurosat, change)
        assert f"which does not exist (and 5 others); {says}" in missing(tmp_path)


def test_pictures_one_folder_too_deep(eurosat, tmp_path):
    images = tmp_path / FOLDER
    move(images, tmp_path / "deep")
    move(tmp_path / "deep", images / "2750")
    said = f"; it was found in {images / '2750'}; move what is there to {images}"
    assert missing(tmp_path).endswith(said)


def test_pictures_that_were_never_sorted(eurosat, tmp_path):
    images = tmp_path / FOLDER
    for file in list(images.glob("*/*")):
        file.rename(images / file.name)
    assert missing(tmp_path).endswith("/ it is there, so the pictures are not sorted")


@pytest.mark.parametrize(
    "place", ["eurosat/eurosat/2750", "EuroSAT/2750", "data/eurosat/2750", "eurosat/x/2750"]
)
def test_a_folder_of_pictures_elsewhere(place, eurosat, tmp_path):
    move(tmp_path / FOLDER, tmp_path / "moved")
    move(tmp_path / "moved", tmp_path / place)
    message = missing(tmp_path)
    assert f"no folder {tmp_path / FOLDER}" in message
    assert f"; there is {tmp_path / place}, so move or link it to {tmp_path / FOLDER}" in message


def test_a_dataset_of_another_layout(tmp_path):
    for split in ("train", "val"):
        write_picture(tmp_path / "imagenet" / split / WNIDS[0] / "a.JPEG")
    assert f"; {tmp_path / 'imagenet'} holds the folders train, val" in missing(
        tmp_path, "imagenet"
    )


def test_imagenet_one_folder_too_deep(imagenet, tmp_path):
    move(imagenet / "val", tmp_path / "val")
    move(tmp_path / "val", imagenet / "val" / "ILSVRC2012_img_val")
    said = missing(tmp_path, "imagenet")
    assert "ILSVRC2012_img_val is named by no WordNet id of classnames.txt" in said
    deeper = imagenet / "val" / "ILSVRC2012_img_val"
    assert said.endswith(
        f"; there are some in {deeper}, so move them from there to {deeper.parent}"
    )


def test_imagenet_s_validation_pictures_unsorted(imagenet, tmp_path):
    move(imagenet / "val", tmp_path / "sorted")
    for index in range(3):
        write_picture(imagenet / "val" / f"ILSVRC2012_val_{index}.JPEG")
    said = missing(tmp_path, "imagenet")
    assert "/, but 3 pictures, which were never sorted by class; " in said


def test_the_search_is_bounded(eurosat, tmp_path, monkeypatch):
    move(tmp_path / FOLDER, tmp_path / "zebra" / "eurosat" / "2750")
    monkeypatch.setattr(layout, "MOST", 1)
    assert "; there is" not in missing(tmp_path)
