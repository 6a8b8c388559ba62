"""Every command refuses, before it works, what it could not write in the end."""

import pytest

CONFIG = ["--config-file", "configs/coop/tiny.yaml"]
META = ["--config-file", "configs/gram/meta_tiny.yaml"]


@pytest.mark.parametrize(
    ("tool", "arguments", "says"),
    [
        ("train", [*CONFIG, "--output-dir", "FILE"], "OUTPUT_DIR FILE is a file; give a folder"),
        ("train", [*CONFIG, "--output-dir", "FILE/a"], "OUTPUT_DIR FILE/a lies below FILE, which"),
        ("train", [*CONFIG, "CACHE.DIR", "FILE"], "CACHE.DIR FILE is a file"),
        ("meta_train", [*META, "--output-dir", "FILE"], "OUTPUT_DIR FILE is a file"),
        ("meta_train", [*META, "META.PAIRS.CACHE", "FILE"], "META.PAIRS.CACHE FILE is a file"),
        ("clusters", ["drawn", "--cache", "FILE"], "--cache FILE is a file"),
        ("benchmark", ["--output-dir", "FILE"], "--output-dir FILE is a file"),
        ("matrix", ["--output-dir", "FILE"], "--output-dir FILE is a file"),
        ("gram_controls", ["--output-dir", "FILE"], "--output-dir FILE is a file"),
        (
            "sweep",
            ["base2new", *CONFIG, "--datasets", "shapes", "--output-dir", "FILE"],
            "--output-dir FILE is a file",
        ),
        ("report", [".", "--output", "."], "--output . is a folder; give a file"),
        ("report", [".", "--output", "FILE/a"], "--output FILE is a file; give a folder"),
        ("pretrain_tiny", ["--output", "."], "--output . is a folder; give a file"),
        ("import_coop", ["--config-only", "."], "--config-only . is a folder; give a file"),
        ("download", ["eurosat", "--root", "FILE"], "cannot write FILE/eurosat: Not a directory"),
    ],
)
def test_a_place_that_cannot_be_written(
    tool, arguments, says, load_tool, root, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "file"
    file.touch()
    (tmp_path / "configs").symlink_to(root / "configs")
    arguments = [word.replace("FILE", str(file)) for word in arguments]
    assert load_tool(tool).main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {says.replace('FILE', str(file))}"), said
    assert said.count("\n") == 1
    assert sorted(place.name for place in tmp_path.iterdir()) == ["configs", "file"]


@pytest.mark.parametrize(
    ("tool", "arguments", "says"),
    [
        ("backbones", ["RN50", "RN5O"], "no backbone named 'RN5O'; did you mean 'RN50'?"),
        ("clusters", ["drawn", "--batch-size", "0"], "argument --batch-size: 0 is less than 1"),
        ("clusters", ["drawn", "--kept", "nan"], "--kept is nan, but must be a finite number"),
        ("clusters", ["drawn", "--held_out", "7"], "--held-out is 7.0, but must be above 0"),
        ("clusters", ["drawn", "--kmeans", "x"], "--kmeans is 'x'; it takes sklearn, faiss"),
        ("meta_train", [], "nothing says what to meta-train: give --config-file FILE, such as"),
        ("meta_train", ["--resume", "nope"], "--resume nope: there is no run, which would have"),
        ("meta_train", ["--resume"], "--resume needs the folder of the run"),
        ("meta_train", ["--resume", "a", "--output-dir", "b"], "--resume a goes on in that folder"),
        ("import_coop", ["--config-only", "a", "--load-epoch", "2"], "--load-epoch would do noth"),
        ("list_fewshot", ["--split", "a", "--shots", "0", "--seed", "1"], "argument --shots: 0 is"),
    ],
)
def test_arguments_that_are_none(tool, arguments, says, load_tool, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert load_tool(tool).main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {says}"), said
    assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())
