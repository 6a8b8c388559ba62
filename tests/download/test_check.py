"""What tools/download.py makes of a disk: --check, and ImageNet's own archives."""

import gzip
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from softprompt.core.base.errors import UserError
from softprompt.core.base.registry import DATASETS
from softprompt.core.data import sources
from softprompt.core.data.fewshot import class_subset
from softprompt.core.data.splits import PUBLISHED, SplitFileDataset, read_split
from softprompt.core.download import check, ilsvrc, place

WNIDS = ("n01440764", "n01443537", "n01484850")


def picture(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), "blue").save(file, "JPEG")


@pytest.fixture
def tool(load_tool, tmp_path, capsys):
    """Run tools/download.py --check with ROOT tmp_path; return its exit code and what it says."""

    def run(*arguments) -> tuple[int, str]:
        code = load_tool("download").main(
            [*arguments, "--check", "--jobs", "2", "--root", str(tmp_path)]
        )
        return code, capsys.readouterr().out

    return run


@pytest.fixture
def eurosat(tmp_path, monkeypatch) -> Path:
    """A disk with a EuroSAT of 300 pictures that passes for the published one."""
    tables = {"train": [], "val": [], "test": []}
    for index in range(300):
        path = f"{'AB'[index % 2]}/{index}.jpg"
        picture(tmp_path / "eurosat" / "2750" / path)
        split = ("train", "val", "test")[index // 100]
        tables[split].append([path, index % 2, f"class {index % 2}"])
    published = tmp_path / "package"
    published.mkdir()
    text = json.dumps(tables).encode()
    (published / "split_zhou_EuroSAT.json.gz").write_bytes(gzip.compress(text))
    for module in (place, "softprompt.core.data.splits"):
        name = module if isinstance(module, str) else module.__name__
        monkeypatch.setattr(f"{name}.PUBLISHED", published)
    entry = sources.SOURCES["eurosat"]._replace(classes=2, counts=(100, 100, 100))
    monkeypatch.setitem(sources.SOURCES, "eurosat", entry)
    return tmp_path / "eurosat" / "2750"


def test_a_disk_in_order(eurosat, tool):
    code, said = tool("eurosat")
    assert code == 0
    assert said.splitlines()[-1].split() == ["eurosat", "2", "100", "100", "100", "0", "0", "ok"]


def test_what_is_wrong(eurosat, tool):
    for index in range(0, 30, 2):
        (eurosat / "A" / f"{index}.jpg").unlink()
    (eurosat / "B" / "1.jpg").write_bytes(b"no picture")
    cut = eurosat / "B" / "299.jpg"
    cut.write_bytes(cut.read_bytes()[:-200])
    code, said = tool("eurosat")
    assert code == 1
    row = next(line for line in said.splitlines() if line.startswith("eurosat "))
    assert row.split() == ["eurosat", "2", "100", "100", "100", "15", "2", "WRONG"]
    assert "eurosat: 15 pictures are missing; 2 pictures cannot be decoded" in said
    assert f"missing: {eurosat / 'A' / '0.jpg'}" in said and "... and 5 more" in said
    assert f"{eurosat / 'B' / '1.jpg'} is no picture" in said
    assert f"{cut} cannot be decoded" in said
    code, said = tool("eurosat", "--quick")
    assert code == 1 and "15 pictures are missing\n" in said and "decoded" not in said


def test_a_split_of_one_s_own_is_no_error_but_said(eurosat, tool):
    tables = {"train": [["A/0.jpg", 0, "a"]], "val": [], "test": [["B/1.jpg", 1, "b"]]}
    (eurosat.parent / "split_zhou_EuroSAT.json").write_text(json.dumps(tables))
    code, said = tool("eurosat")
    assert code == 0 and "eurosat: non-standard split" in said


def test_several_datasets_one_of_them_absent(eurosat, tool):
    code, said = tool("eurosat", "dtd")
    assert code == 1
    assert "dtd: no folder" in said and "DATASET.ROOT is" in said


def test_counts_that_are_not_the_published(tool, tmp_path):
    for wnid in WNIDS[:2]:
        picture(tmp_path / "imagenet-adversarial" / "imagenet-a" / wnid / "1.jpg")
    code, said = tool("imagenet_a")
    assert code == 1
    assert "imagenet_a: 2 classes, not 200; published are 0 / 0 / 7,500" in said


SPLIT_FILE = [name for name in sources.SOURCES if issubclass(DATASETS[name], SplitFileDataset)]


@pytest.mark.parametrize("name", SPLIT_FILE)
def test_the_table_agrees_with_the_packaged_splits(name):
    entry, cls = sources.SOURCES[name], DATASETS[name]
    packed = PUBLISHED / f"{cls.split_file}.gz"
    if not packed.is_file():
        assert cls.drive_id and len(cls.drawn_sha256) == 2
        return
    classnames, splits = read_split(packed)
    assert len(classnames) == entry.classes
    assert tuple(len(items) for items in splits.values()) == entry.counts


# Test pictures of base and new, and the last base and first new class, of the published splits.
BOUNDARIES = {
    "caltech101": (1549, 916, "helicopter", "ibis"),
    "dtd": (864, 828, "marbled", "matted"),
    "eurosat": (4200, 3900, "Industrial Buildings", "Pasture Land"),
    "oxford_flowers": (1053, 1410, "petunia", "wild pansy"),
    "oxford_pets": (1881, 1788, "keeshond", "leonberger"),
    "stanford_cars": (4002, 4039, "1998 Eagle Talon Hatchback", "2012 FIAT 500 Abarth"),
    "ucf101": (1934, 1849, "Long_Jump", "Lunges"),
}


@pytest.mark.parametrize("name", BOUNDARIES)
def test_base_and_new_of_the_packaged_splits(name):
    base_count, new_count, last, first = BOUNDARIES[name]
    classnames, splits = read_split(PUBLISHED / f"{DATASETS[name].split_file}.gz")
    base, new = (class_subset(len(classnames), subset) for subset in ("base", "new"))
    assert (classnames[base[-1]], classnames[new[0]]) == (last, first)
    counts = [sum(item.label in labels for item in splits["test"]) for labels in (base, new)]
    assert counts == [base_count, new_count]


@pytest.mark.parametrize("name", sources.SOURCES)
def test_the_table_agrees_with_the_builders(name, tmp_path):
    """The parts that are fetched are where the builder looks."""
    entry, cls = sources.SOURCES[name], DATASETS[name]
    assert cls.folder == entry.folder
    folders = [part for part, *_ in entry.parts if not part.endswith(".txt")]
    with pytest.raises(UserError, match=f"no folder {tmp_path}/{entry.folder}"):
        cls(tmp_path)
    for part in folders:
        (tmp_path / entry.folder / part).mkdir(parents=True)
    with pytest.raises(UserError) as error:
        cls(tmp_path).splits()
    assert "no folder" not in str(error.value)
    for file in entry.sources:
        assert len(file.sha256) in (0, 64)
        assert file.url.startswith(("https://", "http://", "drive:"))
        same = [other for other in entry.sources if other.name == file.name]
        assert len({other.sha256 for other in same}) == 1  # a name stands for one content


def tar_of(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as opened:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            opened.addfile(info, io.BytesIO(text))
    return content.getvalue()


@pytest.fixture
def imagenet(tmp_path, monkeypatch) -> Path:
    """ImageNet's archives as its site gives them, of three classes, in ROOT/imagenet."""
    from scipy.io import savemat

    image = io.BytesIO()
    Image.new("RGB", (8, 8)).save(image, "JPEG")
    folder = tmp_path / "imagenet"
    folder.mkdir()
    train = {
        f"{wnid}.tar": tar_of({f"{wnid}_{index}.JPEG": image.getvalue() for index in (10, 9)})
        for wnid in WNIDS
    }
    (folder / ilsvrc.TRAIN).write_bytes(tar_of(train))
    names = [f"ILSVRC2012_val_{index:08}.JPEG" for index in range(1, 6)]
    (folder / ilsvrc.VAL).write_bytes(tar_of({name: image.getvalue() for name in reversed(names)}))
    columns = ["ILSVRC2012_ID", "WNID", "words", "gloss", "num_children", "a", "b", "c"]
    synsets = np.zeros(4, dtype=[(name, "O") for name in columns])
    for index, wnid in enumerate((*WNIDS[::-1], "n00001740")):
        synsets[index] = (index + 1, wnid, "word, name", "gloss", int(index == 3), 0, 0, 0)
    meta = io.BytesIO()
    savemat(meta, {"synsets": synsets})
    kit = {
        "ILSVRC2012_devkit_t12/data/meta.mat": meta.getvalue(),
        "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt": b"3\n3\n1\n2\n1\n",
    }
    (folder / ilsvrc.DEVKIT).write_bytes(gzip.compress(tar_of(kit)))
    monkeypatch.setattr("torchvision.datasets.imagenet._verify_archive", lambda *_: None)
    return folder


def test_imagenet_s_archives_are_arranged(imagenet, tmp_path):
    from softprompt.core.download.get import get

    dataset = get("imagenet", tmp_path)
    splits = dataset.splits()
    assert [item.path for item in splits["train"]][:2] == [
        f"train/{WNIDS[0]}/{WNIDS[0]}_10.JPEG",
        f"train/{WNIDS[0]}/{WNIDS[0]}_9.JPEG",
    ]
    found = [(item.path.split("/")[1], item.path[-6]) for item in splits["test"]]
    assert found == [  # class 3 of the kit is the first id
        (WNIDS[0], "1"),
        (WNIDS[0], "2"),
        (WNIDS[1], "4"),
        (WNIDS[2], "3"),
        (WNIDS[2], "5"),
    ]
    assert (imagenet / "classnames.txt").read_text().startswith("n01440764 tench\n")
    kept = {ilsvrc.TRAIN, ilsvrc.VAL, ilsvrc.DEVKIT, "classnames.txt", "images"}
    assert {file.name for file in imagenet.iterdir()} == kept
    (imagenet / ilsvrc.TRAIN).unlink()
    assert len(get("imagenet", tmp_path).splits()["train"]) == 6


def test_imagenet_without_training_pictures(imagenet, tmp_path, caplog):
    from softprompt.core.download.get import get

    (imagenet / ilsvrc.TRAIN).unlink()
    splits = get("imagenet", tmp_path).splits()
    assert splits["train"] == [] and len(splits["test"]) == 5


@pytest.mark.parametrize("name", [ilsvrc.VAL, ilsvrc.DEVKIT])
def test_imagenet_says_what_to_fetch_and_where_to_put_it(imagenet, tmp_path, name):
    from softprompt.core.download.get import get

    (imagenet / name).unlink()
    with pytest.raises(UserError) as error:
        get("imagenet", tmp_path)
    said = str(error.value)
    assert said.startswith(f"no {imagenet / name}: ImageNet needs an account") and "\n" not in said
    assert "https://image-net.org" in said and f"put them in {imagenet}" in said


def test_imagenet_s_archives_are_the_true_ones(imagenet, tmp_path, monkeypatch):
    from softprompt.core.download.get import get

    monkeypatch.undo()
    with pytest.raises(UserError, match=f"{ilsvrc.DEVKIT} is not the archive of that name"):
        get("imagenet", tmp_path)


def test_unreadable_is_told_by_every_process(tmp_path):
    for index in range(200):
        picture(tmp_path / f"{index}.jpg")
    bad = [f"{index}.jpg" for index in (0, 77, 199)]
    for name in bad:
        (tmp_path / name).write_bytes(b"")
    from softprompt.core.data.pictures import FileReader

    names = [f"{index}.jpg" for index in range(200)]
    lines = check.unreadable(FileReader(str(tmp_path)), names, "test", jobs=3)
    assert [line.split()[0] for line in lines] == [str(tmp_path / name) for name in bad]
