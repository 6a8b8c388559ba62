"""A captions file of 200 pictures, from the README's commands to trained prompts."""

import json

import clusters
import meta_train
import pytest
import train

from softprompt.core.gram import meta_file
from softprompt.core.gram.drawn import DrawnPairs

COUNT = 200
QUICK = ["PROMPT.NAME", "coop", "META.OUTER.STEPS", "4", "META.OUTER.VAL_FREQ", "2"]
QUICK += ["META.OUTER.VAL_TASKS", "3"]


@pytest.fixture(scope="module")
def captions(tmp_path_factory):
    """A file of 200 generated pictures, each with a caption."""
    folder = tmp_path_factory.mktemp("my_pictures")
    pairs = DrawnPairs(COUNT)
    lines = []
    for index in range(COUNT):
        pairs.image(index).save(folder / f"{index}.png")
        lines.append(f'{index}.png,"{pairs.caption(index)}"\n')
    (folder / "captions.csv").write_text("path,caption\n" + "".join(lines))
    return folder / "captions.csv"


@pytest.mark.slow
def test_a_captions_file_of_200_pictures_works(captions, root, tmp_path, capsys):
    cache = str(tmp_path / "cache")
    assert clusters.main([str(captions), "--cache", cache]) == 0
    said = capsys.readouterr()
    assert "where pairs suffice, 20 topics of 10 classes" in said.out + said.err
    config = str(root / "configs" / "gram" / "meta_captions_tiny.yaml")
    options = ["META.PAIRS.SOURCE", str(captions), "META.PAIRS.CACHE", cache, *QUICK]
    run = tmp_path / "META"
    assert meta_train.main(["--config-file", config, "--output-dir", str(run), *options]) == 0
    found = json.loads((run / "results.json").read_text())
    assert found["sizes"]["topics"] < 20 and found["pairs"]["total"] == COUNT
    assert found["steps"] == 4 and meta_file.load(str(run)).header["learner"] == "coop"
    pairs = ["TRAINER.GRAM.FILE", str(run), "OPTIM.MAX_EPOCH", "1", "DATASET.NUM_SHOTS", "1"]
    given = ["--config-file", str(root / "configs" / "gram" / "coop_tiny.yaml")]
    given += ["--output-dir", str(tmp_path / "run"), *pairs, "TEST.MAX_IMAGES", "20"]
    assert train.main(given) == 0
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
