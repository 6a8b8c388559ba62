"""A captions file of 200 pictures, from the guide's commands to trained prompts."""

import json
import re
import shlex

import clusters
import meta_train
import pytest
import train

from softprompt.core.meta import learned
from softprompt.core.meta.pairs.generated import GeneratedPairs

COUNT = 200
SHORT_META = ["META.OUTER.STEPS", "4", "META.OUTER.VAL_FREQ", "2", "META.OUTER.VAL_TASKS", "3"]
SHORT_RUN = ["OPTIM.MAX_EPOCH", "1", "DATASET.NUM_SHOTS", "1", "TEST.MAX_IMAGES", "20"]


@pytest.fixture(scope="module")
def captions(tmp_path_factory):
    """A file of 200 generated pictures, each with a caption."""
    folder = tmp_path_factory.mktemp("my_pictures")
    pairs = GeneratedPairs(COUNT)
    lines = []
    for index in range(COUNT):
        pairs.image(index).save(folder / f"{index}.png")
        lines.append(f'{index}.png,"{pairs.caption(index)}"\n')
    (folder / "captions.csv").write_text("path,caption\n" + "".join(lines))
    return folder / "captions.csv"


@pytest.fixture
def commands(captions, root, tmp_path):
    """The arguments of the guide's three commands, for this file and from this folder."""
    page = (root / "docs" / "guide" / "meta-learning.md").read_text()
    block = re.search(r"```bash\n(.*?)```", page, re.S)[1]
    _, *own = [shlex.split(line) for line in block.splitlines()]
    assert [words[1] for words in own] == [
        f"tools/{tool}.py" for tool in ("clusters", "meta_train", "train")
    ]
    places = {"my_pictures/captions.csv": str(captions), "META": str(tmp_path / "META")}
    places |= {w: str(root / w) for words in own for w in words if w.startswith("configs/")}
    return [[places.get(word, word) for word in words[2:]] for words in own]


@pytest.mark.slow
def test_a_captions_file_of_200_pictures_works(commands, tmp_path, capsys):
    to_cluster, to_meta_train, to_train = commands
    cache = str(tmp_path / "cache")
    assert clusters.main([*to_cluster, "--cache", cache]) == 0
    said = capsys.readouterr()
    assert "where pairs suffice, 20 topics of 10 classes" in said.out + said.err
    assert meta_train.main([*to_meta_train, "META.PAIRS.CACHE", cache, *SHORT_META]) == 0
    run = tmp_path / "META"
    found = json.loads((run / "results.json").read_text())
    assert found["sizes"]["topics"] < 20 and found["pairs"]["total"] == COUNT
    assert found["steps"] == 4 and learned.load(str(run)).header["learner"] == "ivlp"
    assert train.main([*to_train, "--output-dir", str(tmp_path / "run"), *SHORT_RUN]) == 0
    note = json.loads((tmp_path / "run" / "results.json").read_text())["train"]["note"]
    assert "prompts start from gram.safetensors" in note


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ("0.png,a star\nmissing.png,a moon\n", "missing.png"),
        ("0.png,a star\n1.png,\n", "caption"),
        ("0.png\n1.png\n", "captions.csv"),
    ],
)
def test_mistakes_in_a_captions_file_end_in_one_line(rows, line, captions, root, tmp_path, capsys):
    for name in ("0.png", "1.png"):
        (tmp_path / name).write_bytes((captions.parent / name).read_bytes())
    file = tmp_path / "captions.csv"
    file.write_text(rows)
    config = str(root / "configs" / "gram" / "meta_captions_tiny.yaml")
    options = ["META.PAIRS.SOURCE", str(file), "META.PAIRS.CACHE", str(tmp_path / "cache")]
    status = meta_train.main(
        ["--config-file", config, "--output-dir", str(tmp_path / "META"), *options]
    )
    error = capsys.readouterr().err
    assert status == 2
    last = error.strip().splitlines()[-1]
    assert last.startswith("error: ") and line in last
