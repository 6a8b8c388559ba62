"""DATASET.NAMES_FILE, and class names that say less to CLIP than to their author."""

import pytest
from PIL import Image

from softprompt.core.base.errors import UserError
from softprompt.core.data.names import alike, find_file, identifiers, renamed
from softprompt.core.engine import cautions
from softprompt.core.engine.shared import Shared

CODES = ("001.Some_bird", "n01440764", "ü")
TABLE = 'folder,class name\n001.Some_bird,"bird, black"\nn01440764,tench\nu\u0308,Übung\nx,y\n'


@pytest.fixture
def write(tmp_path):
    def write(text: str, name: str = "names.csv"):
        (tmp_path / name).write_bytes(text.encode("utf-8"))
        return tmp_path / name

    return write


@pytest.mark.parametrize("name", ["names.csv", "names.TSV"])
def test_a_file_names_the_classes(name, write):
    text = (
        TABLE if name.endswith("csv") else TABLE.replace(",", "\t").replace("\t black", ", black")
    )
    for start in ("", "\ufeff"):
        found = renamed(CODES, write(start + text, name))
        assert found == ("bird, black", "tench", "Übung")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("n01440764,tench\n", "gives no class name to '001.Some_bird' .and 1 others.; it has 1 "),
        ("", "gives no class name .* it has 0 lines such as 'folder, class name'"),
        ("a,b\nn01440764,tench, a fish\n", "line 2: 'n01440764,tench, a fish' is not a class"),
        ("a,\n", "line 1: 'a,' is not a class and its class name"),
        ("a,b\na,c\n", "calls 'a' 'b' and also 'c'"),
        ('a,"b\n', "cannot be read: "),
    ],
)
def test_a_mistake_in_the_file_is_one_line(text, says, write):
    with pytest.raises(UserError, match=says) as error:
        renamed(CODES, write(text))
    assert "\n" not in str(error.value)


def test_files_of_another_kind(write, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="names.txt is neither a .csv nor a .tsv file"):
        renamed(CODES, write(TABLE, "names.txt"))
    (tmp_path / "latin.csv").write_bytes("ü,b".encode("latin1"))
    with pytest.raises(UserError, match="latin.csv is no UTF-8 text"):
        renamed(CODES, tmp_path / "latin.csv")
    with pytest.raises(UserError, match=f"NAMES_FILE: no file {tmp_path}/none.csv$"):
        find_file(tmp_path, "none.csv")
    assert find_file(tmp_path, "latin.csv") == tmp_path / "latin.csv"
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"below DATASET.ROOT, so give {tmp_path}/latin.csv"):
        find_file(tmp_path / "root", "latin.csv")


def test_a_run_has_the_names_of_the_file_and_the_order_of_the_folders(write, tmp_path):
    for name in CODES:
        (tmp_path / "mine" / name).mkdir(parents=True)
        for index in range(2):
            Image.new("RGB", (4, 4)).save(tmp_path / "mine" / name / f"{index}.png")
    write(TABLE)
    dataset, splits = Shared().dataset("folder", str(tmp_path), {"path": "mine"}, "names.csv")
    assert dataset.classnames == ("bird, black", "tench", "Übung")
    assert [item.path for item in splits["test"]][0].startswith("001.Some_bird/")


@pytest.mark.parametrize(
    "name",
    ["7", "0012", "12-3", "n01440764", "001.Some_bird", "3_cat", "c0", "class 12", "Label-3"]
    + ["deadbeef01", "123e4567-e89b-12d3-a456-426614174000"],
)
def test_identifiers_are_known(name):
    assert identifiers([name, "song bird", "DC-10", "A300B4", "2012 Audi TTS", "7up"]) == [name]


def test_identifiers_are_warned_of_where_they_are_many():
    assert cautions.of_names(("707-320", "Boeing 717", "DC-10")) == []  # a proper name
    (warning,) = cautions.of_names([f"{index:03}" for index in range(7)])
    assert warning.startswith("7 of 7 class names look like identifiers")
    assert "'004' ...; DATASET.NAMES_FILE gives them names" in warning


def test_names_that_are_the_same_to_clip(clip):
    names = ("Song_Bird", "song  bird", "dog", "DOG ", "cat")
    assert alike(names) == [("Song_Bird", "song  bird"), ("dog", "DOG ")]
    features = clip.class_features(names, ["a photo of a {}."])
    assert features[0].equal(features[1]) and features[2].equal(features[3])
    (warning,) = cautions.of_names(names)
    assert warning.endswith("apart: 'Song_Bird' and 'song  bird', 'dog' and 'DOG '")


def test_names_of_any_letters_and_signs_work(clip):
    names = (
        "Bär",
        "犬",
        "собака",
        "😀",
        "a'b",
        'a"b',
        "$(rm)",
        "100%",
        "a&b",
        "<b>",
        "{x}",
        "{}",
        "#",
    )
    features = clip.class_features(names, ["a photo of a {}."])
    assert features.isfinite().all()
    assert len({tuple(row.tolist()) for row in features}) == len(names)
