"""Each dataset builder on a miniature of its layout, with what trips people up in it."""

import gzip
import json
import logging
from pathlib import Path

import pytest
import torch
from PIL import Image

from softprompt.core.base.errors import UserError
from softprompt.core.base.registry import DATASETS
from softprompt.core.data import splits
from softprompt.core.data.dataset import Item, read_lines
from softprompt.core.data.fewshot import draw_shots
from softprompt.core.data.imagenet import read_classnames


def write_picture(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), "red").save(file, "JPEG")


# name: pictures' folder, split file, and for each class (label, name, path of a picture).
# As in the real ones: upper case sorts first, labels do not begin at 0, names are not folders.
SPLIT_FILES = {
    "caltech101": (
        "caltech-101/101_ObjectCategories",
        "caltech-101/split_zhou_Caltech101.json",
        [(0, "face", "Faces/image_{}.jpg"), (1, "accordion", "accordion/image_{}.jpg")],
    ),
    "oxford_pets": (
        "oxford_pets/images",
        "oxford_pets/split_zhou_OxfordPets.json",
        [(0, "abyssinian", "Abyssinian_{}.jpg"), (1, "yorkshire_terrier", "y_terrier_{}.jpg")],
    ),
    "stanford_cars": (
        "stanford_cars",
        "stanford_cars/split_zhou_StanfordCars.json",
        [(1, "2012 Audi TTS Coupe", "cars_train/{}.jpg"), (0, "2000 AM", "cars_test/{}.jpg")],
    ),
    "oxford_flowers": (
        "oxford_flowers/jpg",
        "oxford_flowers/split_zhou_OxfordFlowers.json",
        [(2, "passion flower", "i_2{}.jpg"), (0, "rose", "i_0{}.jpg"), (1, "lily", "i_1{}.jpg")],
    ),
    "food101": (
        "food-101/images",
        "food-101/split_zhou_Food101.json",
        [(0, "apple_pie", "apple_pie/{}.jpg"), (1, "baklava", "baklava/{}.jpg")],
    ),
    "sun397": (
        "sun397/SUN397",
        "sun397/split_zhou_SUN397.json",
        [(0, "abbey", "a/abbey/{}.jpg"), (1, "indoor rink", "r/rink/indoor/{}.jpg")],
    ),
    "dtd": (
        "dtd/images",
        "dtd/split_zhou_DescribableTextures.json",
        [(0, "banded", "banded/banded_{}.jpg"), (1, "zigzagged", "zigzagged/zigzagged_{}.jpg")],
    ),
    "eurosat": (
        "eurosat/2750",
        "eurosat/split_zhou_EuroSAT.json",
        [(0, "Annual Crop Land", "AnnualCrop/A_{}.jpg"), (1, "Forest", "Forest/F_{}.jpg")],
    ),
    "ucf101": (
        "ucf101/UCF-101-midframes",
        "ucf101/split_zhou_UCF101.json",
        [(0, "Archery", "Archery/v_{}.jpg"), (1, "Yo_Yo", "Yo_Yo/v_YoYo_{}.jpg")],
    ),
}
VARIANTS = {
    "imagenet_sketch": ("imagenet-sketch", "images"),
    "imagenet_a": ("imagenet-adversarial", "imagenet-a"),
    "imagenet_r": ("imagenet-rendition", "imagenet-r"),
}
IMAGENETS = ("imagenet", "imagenetv2", *VARIANTS)
BENCHMARK = (*SPLIT_FILES, "fgvc_aircraft", *IMAGENETS)


def write_split_dataset(root: Path, name: str, count: int = 6) -> tuple[Path, dict]:
    """Write ``count`` pictures of each class; return the split file and what it says."""
    folder, file, classes = SPLIT_FILES[name]
    tables = {"train": [], "val": [], "test": []}
    for label, classname, path in classes:
        for index in range(count):
            split = ("train", "train", "val", "test", "test", "train")[index % 6]
            tables[split].append([path.format(index), label, classname])
            write_picture(root / folder / path.format(index))
    (root / file).write_text(json.dumps(tables, indent=4))
    return root / file, tables


WNIDS = ("n01440764", "n03773504", "n04008634", "n04355933", "n04356056")
MINI_NAMES = "tench missile missile sunglasses sunglasses".split()


def write_classnames(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = (f"{wnid} {name}\n" for wnid, name in zip(WNIDS, MINI_NAMES, strict=True))
    (folder / "classnames.txt").write_text("".join(lines))


def write_imagenet(root: Path, wnids=WNIDS) -> Path:
    images = root / "imagenet" / "images"
    write_classnames(images.parent)
    for wnid in reversed(wnids):
        for index in (2, 10, 1):
            write_picture(images / "train" / wnid / f"{wnid}_{index}.JPEG")
        write_picture(images / "val" / wnid / "ILSVRC2012_val_7.JPEG")
    (images / "val" / "README.txt").write_text("not a class")
    (images / "val" / ".cache").mkdir()
    return images


def write_aircraft(root: Path) -> Path:
    folder = root / "fgvc_aircraft"
    lists = {
        "variants.txt": "707-320\nF/A-18\nA310\n",
        "images_variant_train.txt": "0000002 A310\n0000001 707-320\n0000003 F/A-18\n",
        "images_variant_val.txt": "0000004 A310\n",
        "images_variant_test.txt": "0000005 F/A-18\n0000006 707-320\n",
    }
    for number in range(1, 7):
        write_picture(folder / "images" / f"000000{number}.jpg")
    for file, text in lists.items():
        (folder / file).write_text(text)
    return folder


@pytest.mark.parametrize("name", SPLIT_FILES)
def test_split_file_datasets(name, tmp_path):
    file, tables = write_split_dataset(tmp_path, name)
    dataset = DATASETS[name](tmp_path)
    names = {label: classname for label, classname, _ in SPLIT_FILES[name][2]}
    assert dataset.classnames == tuple(names[label] for label in sorted(names))
    expected = {s: [Item(path, label) for path, label, _ in rows] for s, rows in tables.items()}
    assert dataset.splits() == expected  # the order too: the few-shot draw walks it
    assert dataset.reader()(expected["test"][0].path).mode == "RGB"
    assert dataset.note == f"non-standard split: {file} is not the one CoOp published"


def test_fgvc_aircraft(tmp_path):
    write_aircraft(tmp_path)
    dataset = DATASETS["fgvc_aircraft"](tmp_path)
    assert dataset.classnames == ("707-320", "F/A-18", "A310")  # the file's order, not sorted
    assert dataset.splits() == {
        "train": [Item("0000002.jpg", 2), Item("0000001.jpg", 0), Item("0000003.jpg", 1)],
        "val": [Item("0000004.jpg", 2)],
        "test": [Item("0000005.jpg", 1), Item("0000006.jpg", 0)],
    }
    assert dataset.note == ""


def test_imagenet(tmp_path):
    write_imagenet(tmp_path)
    dataset = DATASETS["imagenet"](tmp_path)
    assert dataset.classnames == tuple(MINI_NAMES)  # two names twice
    found = dataset.splits()
    assert found["val"] == found["test"]
    assert [item.label for item in found["test"]] == [0, 1, 2, 3, 4]
    first = [item.path for item in found["train"][:3]]
    assert first == [f"train/n01440764/n01440764_{index}.JPEG" for index in (1, 10, 2)]
    drawn = draw_shots(found, 2, 1)
    assert len(drawn["train"]) == 10 and drawn["val"] == found["val"]
    assert dataset.reader()(first[0]).size == (4, 4)
    assert dataset.note == "5 of 1000 classes are on the disk"


def test_classes_of_one_name_keep_their_own_contexts(tmp_path, make_model, clip):
    """ImageNet has missile and sunglasses twice; a class-specific context is keyed by name."""
    write_imagenet(tmp_path)
    names = DATASETS["imagenet"](tmp_path).classnames
    model = make_model("coop", clip, names, csc=True, n_ctx=2)
    context = model.learner.context
    assert torch.equal(model.prompts().text, context)
    for chosen, rows in (
        ((0, 1, 2, 3, 4), (0, 1, 2, 3, 4)),
        ((4, 3, 2, 1, 0), (3, 4, 1, 2, 0)),  # the first of a name is the first of that name
        ((1, 2), (1, 2)),
        ((3, 0), (3, 0)),
    ):
        some = model.learner.for_classes(tuple(names[label] for label in chosen))
        assert torch.equal(some(None).text, context[list(rows)])
    more = model.learner.for_classes(("missile", "missile", "missile"))
    assert torch.equal(more(None).text, context[[1, 2, 2]])


@pytest.mark.parametrize("name", ["imagenet_a", "imagenet_r"])
def test_a_variant_s_classes_are_joined_to_imagenet_s_by_name(name, tmp_path, make_model, clip):
    """Contexts trained on ImageNet's classes serve the 200 of a variant, whatever their numbers."""
    write_imagenet(tmp_path)
    folder = tmp_path.joinpath(*VARIANTS[name])
    for wnid in (WNIDS[4], WNIDS[0]):
        write_picture(folder / wnid / "a.jpg")
    trained = DATASETS["imagenet"](tmp_path).classnames
    tested = DATASETS[name](tmp_path).classnames
    learner = make_model("coop", clip, trained, csc=True, n_ctx=2).learner
    assert tested == ("tench", "sunglasses")
    assert torch.equal(learner.for_classes(tested)(None).text, learner.context[[0, 3]])
    with pytest.raises(UserError, match="trained for 5 classes and has none for 'goldfish'"):
        learner.for_classes((*tested, "goldfish"))


def test_imagenet_can_be_evaluated_without_its_training_pictures(tmp_path, caplog):
    images = write_imagenet(tmp_path)
    (images / "train").rename(images / "elsewhere")
    with caplog.at_level(logging.INFO, "softprompt"):
        found = DATASETS["imagenet"](tmp_path).splits()
    assert found["train"] == [] and len(found["test"]) == 5
    assert f"no class folders in {images / 'train'}: nothing to train on" in caplog.text


def test_imagenet_s_validation_archive_unpacked_flat(tmp_path):
    write_picture(tmp_path / "imagenet" / "images" / "val" / "ILSVRC2012_val_00000001.JPEG")
    with pytest.raises(UserError, match="val has no class folders such as n01440764/"):
        DATASETS["imagenet"](tmp_path)


def test_imagenet_class_folder_without_a_picture(tmp_path):
    images = write_imagenet(tmp_path)
    (images / "val" / WNIDS[1] / "ILSVRC2012_val_7.JPEG").unlink()
    with pytest.raises(UserError, match=f"val/{WNIDS[1]} holds no picture"):
        DATASETS["imagenet"](tmp_path).splits()


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_number_the_ids_they_have_and_keep_their_names(name, tmp_path):
    folder = tmp_path.joinpath(*VARIANTS[name])
    for wnid in (WNIDS[4], WNIDS[1]):
        write_picture(folder / wnid / "b.jpg")
        write_picture(folder / wnid / "a.JPEG")
    (folder / "README.txt").write_text("not a class")
    dataset = DATASETS[name](tmp_path)  # without classnames.txt
    assert dataset.classnames == ("missile", "sunglasses")
    assert dataset.splits() == {
        "train": [],
        "val": [],
        "test": [
            Item(f"{wnid}/{file}", label)
            for label, wnid in enumerate((WNIDS[1], WNIDS[4]))
            for file in ("a.JPEG", "b.jpg")
        ],
    }
    total = 1000 if name == "imagenet_sketch" else 200
    assert dataset.note == f"2 of {total} classes are on the disk"


def test_imagenetv2_folders_are_labels(tmp_path):
    folder = tmp_path / "imagenetv2" / "imagenetv2-matched-frequency-format-val"
    names = [f"n{number:08} thing {number}\n" for number in range(11)]
    for label in range(11):
        write_picture(folder / str(label) / "a.jpeg")
    (folder.parent / "classnames.txt").write_text("".join(names))
    dataset = DATASETS["imagenetv2"](tmp_path)
    assert dataset.classnames == tuple(f"thing {number}" for number in range(11))
    expected = [Item(f"{label}/a.jpeg", label) for label in range(11)]  # 10 after 9, not after 1
    assert dataset.splits()["test"] == expected
    (folder / "10").rename(folder / "1000")
    with pytest.raises(UserError, match="should have the folders 0 to 10.* such as 10$"):
        DATASETS["imagenetv2"](tmp_path)


def test_packaged_imagenet_names():
    names = read_classnames(Path("/nowhere"))
    assert len(names) == 1000 and len(set(names.values())) == 998
    assert list(names) == sorted(names)
    assert [names[wnid] for wnid in WNIDS] == MINI_NAMES


@pytest.mark.parametrize("name", BENCHMARK)
def test_missing_folder_is_one_line(name, tmp_path):
    with pytest.raises(UserError) as error:
        DATASETS[name](tmp_path)
    message = str(error.value)
    assert f"no folder {tmp_path}/" in message and f"DATASET.ROOT is {tmp_path}" in message
    assert "\n" not in message


def test_root_that_is_the_dataset_s_own_folder(tmp_path):
    write_split_dataset(tmp_path, "eurosat")
    with pytest.raises(UserError, match=f"did you mean {tmp_path}\\?$"):
        DATASETS["eurosat"](tmp_path / "eurosat")


@pytest.mark.parametrize("name", [*SPLIT_FILES, "fgvc_aircraft"])
def test_missing_picture_names_it_and_the_file(name, tmp_path):
    if name == "fgvc_aircraft":
        folder = write_aircraft(tmp_path)
        file, picture = folder / "images_variant_val.txt", folder / "images" / "0000004.jpg"
    else:
        file, tables = write_split_dataset(tmp_path, name)
        picture = tmp_path / SPLIT_FILES[name][0] / tables["test"][-1][0]
    picture.unlink()
    with pytest.raises(UserError) as error:
        DATASETS[name](tmp_path).splits()
    assert str(error.value) == f"{file} names {picture}, which does not exist"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "JSONDecodeError"),
        (b'{"train": [["a.jpg", 0,', "JSONDecodeError"),
        (b"\xff\xfe\x00", "Error"),
        (b"[" * 100_000, "RecursionError"),
        (b"[]", "TypeError"),
        (b'{"train": [], "val": []}', "KeyError: 'test'"),
        (b'{"train": [["a.jpg", 0]], "val": [], "test": []}', "ValueError"),
        (
            b'{"train": [["a.jpg", "0", "a"]], "val": [], "test": []}',
            "the entry ['a.jpg', '0', 'a']",
        ),
        (b'{"train": [], "val": [], "test": []}', "lists no picture"),
        (b'{"train": [["a.jpg", 1, "a"]], "val": [], "test": []}', "must be 0 to 0"),
        (
            b'{"train": [["a.jpg", 0, "a"]], "val": [], "test": [["a.jpg", 0, "b"]]}',
            "label 0 is 'a' and also 'b'",
        ),
    ],
)
def test_malformed_split_file_is_one_line(content, message, tmp_path):
    file, _ = write_split_dataset(tmp_path, "eurosat")
    file.write_bytes(content)
    with pytest.raises(UserError) as error:
        DATASETS["eurosat"](tmp_path)
    assert str(error.value).startswith(str(file)) and message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("variants.txt", b"\xff\xfe\x41", "cannot read .*variants.txt"),
        ("images_variant_test.txt", b"0000005\n", "the line '0000005' is not"),
        ("images_variant_test.txt", b"0000005 A31O\n", "the line '0000005 A31O' is not"),
    ],
)
def test_malformed_aircraft_annotation(file, content, message, tmp_path):
    (write_aircraft(tmp_path) / file).write_bytes(content)
    with pytest.raises(UserError, match=message):
        DATASETS["fgvc_aircraft"](tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe", "cannot read"),
        (b"n01440764\n", "the line 'n01440764' is not"),
        (b"n01440764 tench\nn01440764 tench\n", "the line 'n01440764 tench' is not a new"),
        (b"n01443537 goldfish\n", "train/n01440764 is named by no|val/n01440764 is named by no"),
    ],
)
def test_malformed_class_names(content, message, tmp_path):
    (write_imagenet(tmp_path).parent / "classnames.txt").write_bytes(content)
    with pytest.raises(UserError, match=message):
        DATASETS["imagenet"](tmp_path)


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path):
    folder = write_aircraft(tmp_path)
    for name in ("variants.txt", "images_variant_train.txt"):
        (folder / name).write_bytes(b"\xef\xbb\xbf" + (folder / name).read_bytes())
    dataset = DATASETS["fgvc_aircraft"](tmp_path)
    assert dataset.classnames[0] == "707-320"
    assert dataset.splits()["train"][0] == Item("0000002.jpg", 2)


@pytest.mark.parametrize("name", ["classnames.txt", "split_zhou_EuroSAT.json"])
def test_a_folder_in_place_of_an_annotation_is_one_line(name, tmp_path):
    key = "eurosat" if name.endswith("json") else "imagenet"
    if key == "eurosat":
        file, _ = write_split_dataset(tmp_path, key)
    else:
        file = write_imagenet(tmp_path).parent / name
    file.unlink()
    file.mkdir()
    with pytest.raises(UserError) as error:
        DATASETS[key](tmp_path)
    assert str(file) in str(error.value) and "\n" not in str(error.value)


def test_missing_pictures_are_counted(tmp_path):
    file, tables = write_split_dataset(tmp_path, "eurosat")
    for path, *_ in tables["val"] + tables["test"]:
        (tmp_path / "eurosat" / "2750" / path).unlink()
    dataset = DATASETS["eurosat"](tmp_path)
    with pytest.raises(UserError, match=r"which does not exist \(and 5 others\)$"):
        dataset.splits()
    assert dataset.listed() == dataset._splits


@pytest.mark.parametrize(
    "path", ["../../secret.png", "a/../../../secret.png", "/dev/zero", "{outside}", "../\0.png"]
)
def test_a_split_file_cannot_name_pictures_elsewhere(path, tmp_path):
    write_picture(tmp_path / "secret.png")
    path = path.replace("{outside}", str(tmp_path / "secret.png"))
    file, tables = write_split_dataset(tmp_path, "eurosat")
    tables["test"][0][0] = path
    file.write_text(json.dumps(tables))
    with pytest.raises(UserError, match="outside of .*2750;") as error:
        DATASETS["eurosat"](tmp_path)
    said = str(error.value)
    assert str(file) in said and repr(path) in said and "\n" not in said


def test_an_annotation_cannot_name_pictures_elsewhere(tmp_path):
    file = write_aircraft(tmp_path) / "images_variant_test.txt"
    line = file.read_text().splitlines()[0]
    file.write_text(f"../../secret {line.partition(' ')[2]}\n")
    with pytest.raises(UserError, match=r"'\.\./\.\./secret\.jpg', which lies outside"):
        DATASETS["fgvc_aircraft"](tmp_path)


def test_links_in_the_pictures_folder_may_lead_anywhere(tmp_path):
    """A folder that is a link, a picture that is one, and paths that come back."""
    file, tables = write_split_dataset(tmp_path, "eurosat")
    folder = tmp_path / "eurosat" / "2750"
    first, second, third = (row[0] for row in tables["train"][:3])
    (folder / first).rename(tmp_path / "elsewhere.jpg")
    (folder / first).symlink_to(tmp_path / "elsewhere.jpg")
    tables["train"][1][0] = f"{Path(second).parent}/../{second}"
    tables["train"][2][0] = str(folder / third)
    file.write_text(json.dumps(tables))
    folder.rename(tmp_path / "disk")
    folder.symlink_to(tmp_path / "disk")
    dataset = DATASETS["eurosat"](tmp_path)
    assert len(dataset.splits()["train"]) == len(tables["train"])
    for path, *_ in tables["train"]:
        dataset.reader()(path)


def test_missing_annotation_is_one_line(tmp_path):
    with pytest.raises(UserError, match="cannot read .*/a.txt: no such file"):
        read_lines(tmp_path / "a.txt")


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A package whose published EuroSAT split is the miniature's."""
    file, _ = write_split_dataset(tmp_path, "eurosat")
    monkeypatch.setattr(splits, "PUBLISHED", tmp_path / "package")
    splits.PUBLISHED.mkdir()
    packed = splits.PUBLISHED / f"{file.name}.gz"
    packed.write_bytes(gzip.compress(file.read_bytes()))
    return file, packed


def test_packaged_split_serves_where_there_is_none(published, tmp_path, caplog):
    file, packed = published
    present = DATASETS["eurosat"](tmp_path)
    assert present.note == ""
    file.unlink()
    with caplog.at_level(logging.INFO, "softprompt"):
        absent = DATASETS["eurosat"](tmp_path)
    assert f"no {file}, so the package's copy of CoOp's split file is used" in caplog.text
    assert absent.splits() == present.splits()
    assert absent.note == "" and absent.split_path == packed


def test_split_on_the_disk_wins_and_is_reported_if_another(published, tmp_path):
    file, _ = published
    tables = json.loads(file.read_text())
    file.write_text(json.dumps(tables))  # the same split in one line
    assert DATASETS["eurosat"](tmp_path).note == ""
    tables["train"].reverse()  # other pictures would be drawn
    file.write_text(json.dumps(tables))
    dataset = DATASETS["eurosat"](tmp_path)
    assert dataset.note == f"non-standard split: {file} is not the one CoOp published"
    assert dataset.splits()["train"][0].path == tables["train"][0][0]


def test_damaged_package_is_named(published, tmp_path):
    file, packed = published
    file.unlink()
    packed.write_bytes(packed.read_bytes()[:60])
    with pytest.raises(UserError, match=f"{packed.name} is no split file"):
        DATASETS["eurosat"](tmp_path)


@pytest.mark.parametrize("name", ["food101", "sun397"])
def test_split_file_that_cannot_be_shipped(name, tmp_path):
    file, _ = write_split_dataset(tmp_path, name)
    file.unlink()
    with pytest.raises(UserError) as error:
        DATASETS[name](tmp_path)
    message = str(error.value)
    assert f"no split file {file}" in message
    assert f"gdown {DATASETS[name].drive_id} -O {file}" in message
    assert "tools/download.py --make-split" in message


def test_published_draw_tells_a_split_that_cannot_be_shipped(tmp_path, monkeypatch):
    file, _ = write_split_dataset(tmp_path, "food101")
    classnames, lists = splits.read_split(file)
    drawn = draw_shots(lists, 16, 1)
    hashes = tuple(splits.list_sha256(drawn[split], classnames) for split in ("train", "val"))
    monkeypatch.setattr(DATASETS["food101"], "drawn_sha256", hashes)
    assert DATASETS["food101"](tmp_path).note == ""


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"text"])
def test_damaged_picture_is_named(damage, tmp_path):
    _, tables = write_split_dataset(tmp_path, "eurosat")
    picture = tmp_path / "eurosat" / "2750" / tables["train"][0][0]
    picture.write_bytes(damage(picture.read_bytes()))
    dataset = DATASETS["eurosat"](tmp_path)
    with pytest.raises(UserError, match=str(picture)):
        dataset.reader()(tables["train"][0][0])


@pytest.mark.parametrize("name", BENCHMARK)
def test_class_links_its_paper_and_has_a_config(name, root):
    assert "https://" in DATASETS[name].__doc__ and "ROOT/" in DATASETS[name].__doc__
    assert (root / "configs" / "datasets" / f"{name}.yaml").is_file()
