"""Tables from results files: means, averages, H, and what is missing."""

import errno
import json
import os
import re
from pathlib import Path

import pytest
from report import main

from softprompt.core.protocols.report.build import build_report
from softprompt.core.protocols.report.tabulated import as_text
from softprompt.core.protocols.runs import find_runs


@pytest.fixture
def write(tmp_path):
    """Write the results of one run; ``scores`` maps a class set to an accuracy."""

    def write(place: str, scores: dict, clip: dict | None = None, **others):
        folder = tmp_path / "out" / place
        folder.mkdir(parents=True)

        def measured(values):
            return {
                name: value if isinstance(value, dict) else {"accuracy": value}
                for name, value in values.items()
            }

        found = {
            "results": {"zero-shot CLIP": measured(clip or scores), "a": measured(scores)},
            "warnings": [],
            "split": {"note": ""},
            "sampled": {},
            "config": {"SEED": place, "OPTIM": {"LR": 0.1}},
        }
        (folder / "results.json").write_text(json.dumps(found | others))
        return folder

    return write


@pytest.fixture
def table(tmp_path):
    def table(*folders) -> str:
        return as_text(
            build_report(find_runs([str(folder) for folder in folders or (tmp_path / "out",)]))
        )

    return table


def unwrapped(text: str) -> str:
    """The text with its wrapped lines joined."""
    return text.replace("\n  ", " ")


def rows(text: str) -> dict[str, list[str]]:
    """The cells of the first table by row, their means alone."""
    lines = [line.split("  ") for line in text.split("\n\n")[1].splitlines()]
    words = [
        [re.split(r" [±(]\d", word.strip())[0] for word in line if word.strip()] for line in lines
    ]
    return {line[0]: line[1:] for line in words if line}


def place(dataset: str, seed: int, shots: int = 16) -> str:
    return f"base2new/coop/vit_b16/{dataset}/shots_{shots}/seed_{seed}"


def test_base_to_new_means_averages_and_h(write, table):
    write(place("dtd", 1), {"base": 80.0, "new": 60.0}, {"base": 50.0, "new": 50.0})
    write(place("dtd", 2), {"base": 82.0, "new": 50.0}, {"base": 50.0, "new": 50.0})
    write(place("sun397", 1), {"base": 71.0, "new": 71.0})
    write(place("sun397", 2), {"base": 71.0, "new": 73.0})
    text = table()
    assert text.startswith("base to new classes: coop/vit_b16, 16 shots, mean over the seeds 1 2\n")
    found = rows(text)
    assert found["dtd"] == ["81.0", "55.0", "65.5", "50.0", "50.0", "50.0"]
    assert found["sun397"][:3] == ["71.0", "72.0", "71.5"]
    # H of the averages 76.0 and 63.5, which is not the average 68.5 of 65.5 and 71.5
    assert found["average"][:3] == ["76.0", "63.5", "69.2"]
    assert "INCOMPLETE" not in text


def test_h_of_averages_is_the_published_one(write, table):
    write(place("one", 1), {"base": 82.63, "new": 67.99})
    write(place("two", 1), {"base": 82.63, "new": 67.99})
    assert rows(table())["average"][2] == "74.6"


def test_a_missing_seed_is_said(write, table):
    write(place("dtd", 1), {"base": 80.0, "new": 60.0})
    write(place("dtd", 2), {"base": 80.0, "new": 60.0})
    write(place("sun397", 1), {"base": 70.0, "new": 70.0})
    text = table()
    assert "average (INCOMPLETE)" in text
    assert "INCOMPLETE: sun397, 16 shots, seed 2: no run" in text
    assert "70.0 (1 of 2 seeds)" in text


def test_a_run_that_never_finished_is_said(write, table, tmp_path):
    write(place("dtd", 1), {"base": 80.0, "new": 60.0})
    begun = tmp_path / "out" / place("dtd", 2)
    begun.mkdir()
    (begun / "config.yaml").write_text("SEED: 2")
    line = f"INCOMPLETE: dtd, 16 shots, seed 2: no results.json in {begun}"
    assert line in unwrapped(table())


def test_checkpoints_that_go_while_folders_are_searched(write, table, monkeypatch):
    """As those of a run that goes on do."""
    gone = write(place("dtd", 1), {"base": 80.0, "new": 60.0}) / "checkpoints" / "epoch-1"
    gone.mkdir(parents=True)
    scandir = os.scandir

    def too_late(folder):
        if Path(folder) == gone:
            gone.rmdir()
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", too_late)
    assert rows(table())["dtd"][:2] == ["80.0", "60.0"]
    assert not gone.exists()


def test_a_missing_run_of_one_shot_is_named_in_the_singular(write, table):
    write(place("dtd", 1, shots=1), {"base": 80.0, "new": 60.0})
    write(place("dtd", 2, shots=1), {"base": 80.0, "new": 60.0})
    write(place("sun397", 1, shots=1), {"base": 70.0, "new": 70.0})
    assert "INCOMPLETE: sun397, 1 shot, seed 2: no run" in table()


def test_a_run_that_should_be_there_is_said_and_its_row_is_empty(write, table, tmp_path):
    done = write(place("dtd", 1), {"base": 80.0, "new": 60.0})
    absent = tmp_path / "out" / place("sun397", 1)
    text = table(done, absent)
    assert rows(text)["sun397"] == ["-"] * 6
    assert f"INCOMPLETE: sun397, 16 shots, seed 1: no results.json in {absent}" in unwrapped(text)
    assert rows(text)["average (INCOMPLETE)"][:2] == ["80.0", "60.0"]
    assert "80.0 (1 of 2 datasets)" in text


def test_the_generalized_setting_has_columns_of_its_own(write, table):
    apart = {"accuracy": 1.0, "base": {"accuracy": 60.0}, "new": {"accuracy": 30.0}}
    write(place("dtd", 1), {"base": 80.0, "new": 60.0, "generalized": apart})
    lines = table().splitlines()
    assert "generalized base    generalized new    generalized H" in lines[2]
    assert rows(table())["dtd"][3:6] == ["60.0", "30.0", "40.0"]


def test_few_shots_have_a_column_each(write, table):
    for shots, accuracy in ((1, 40.0), (16, 70.0), (4, 55.0)):
        for dataset, more in (("dtd", 0), ("sun397", 10)):
            folder = f"few_shot/coop/rn50/{dataset}/shots_{shots}/seed_1"
            write(folder, {"all": accuracy + more}, {"all": 30.0})
    text = table()
    assert text.splitlines()[2].split("  ")[0] == "dataset"
    assert "1 shot    4 shots    16 shots" in text
    assert rows(text)["dtd"] == ["30.0", "40.0", "55.0", "70.0"]
    assert rows(text)["average"] == ["30.0", "45.0", "60.0", "75.0"]


def test_transfer_averages_the_targets_alone(write, table):
    source = "transfer/maple/vit_b16/imagenet/shots_16/seed_1"
    write(source, {"all": 70.0})
    write(f"{source}/eval/dtd", {"all": 40.0})
    write(f"{source}/eval/eurosat", {"all": 50.0})
    text = table()
    assert text.startswith("transfer from imagenet: maple/vit_b16, 16 shots")
    assert list(rows(text))[2:] == ["imagenet (source)", "dtd", "eurosat", "average of targets"]
    assert rows(text)["average of targets"][0] == "45.0"


def test_methods_and_protocols_have_a_table_each(write, table):
    write(place("dtd", 1), {"base": 80.0, "new": 60.0})
    write("base2new/maple/vit_b16/dtd/shots_16/seed_1", {"base": 80.0, "new": 60.0})
    write("few_shot/maple/vit_b16/dtd/shots_16/seed_1", {"all": 60.0})
    blocks = table().split("\n\n")
    assert [block.split(",")[0] for block in blocks if "seeds 1" in block] == [
        "base to new classes: coop",
        "base to new classes: maple",
        "few shots: maple/vit_b16",
    ]
    assert blocks[2].endswith("All methods: configs/*/vit_b16.yaml")  # below the overview


def test_an_evaluation_on_the_side_is_no_run_of_the_protocol(write, table):
    write(place("dtd", 1), {"base": 80.0, "new": 60.0})
    write(place("dtd", 1) + "/eval/dtd-new", {"new": 1.0})
    assert rows(table())["dtd"][:2] == ["80.0", "60.0"]


def test_what_a_reader_must_know_stands_below(write, table):
    write(
        place("dtd", 1),
        {"base": 80.0, "new": 60.0},
        warnings=["RANDOM WEIGHTS: x"],
        split={"note": "non-standard split: y"},
        sampled={"base": "20 of 600 images"},
    )
    assert table().splitlines()[-3:] == [
        "dtd: non-standard split: y",
        "dtd: tested on 20 of 600 images (base)",
        "CAUTION: RANDOM WEIGHTS: x",
    ]


def test_a_warning_names_its_runs_unless_all_have_it(write, table):
    for seed in (1, 2, 3):
        warnings = ["all", *["two"] * (seed > 1), *["one"] * (seed > 2)]
        write(place("dtd", seed), {"base": 80.0, "new": 60.0}, warnings=warnings)
    write("base2new/maple/vit_b16/dtd/shots_16/seed_1", {"base": 80.0, "new": 60.0})
    text = unwrapped(table())
    assert "\nCAUTION: all\n" in text
    assert "\nCAUTION: two (dtd, 16 shots, seed 2 and 1 more)\n" in text
    assert "\nCAUTION: one (dtd, 16 shots, seed 3)" in text
    assert "\nCAUTION: coop: all\n" in text  # below the overview


def test_seeds_with_other_settings_are_said(write, table):
    write(place("dtd", 1), {"base": 80.0, "new": 60.0})
    write(
        place("dtd", 2),
        {"base": 80.0, "new": 60.0},
        config={"SEED": 2, "DATASET": {"SEED": 3}, "OPTIM": {"LR": 0.2}},
    )
    (line,) = [line for line in unwrapped(table()).splitlines() if "NOT COMPARABLE" in line]
    assert "OPTIM.LR is 0.1 for dtd, 16 shots, seed 1 and 0.2 for dtd, 16 shots, seed 2" in line


def test_the_tool(write, tmp_path, capsys):
    write(place("dtd", 1), {"base": 80.0, "new": 60.0})
    assert main([str(tmp_path / "out")]) == 0
    assert "base to new classes" in capsys.readouterr().out
    assert main([str(tmp_path / "nowhere")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path}/nowhere holds no run") and error.count("\n") == 1


def test_a_report_that_cannot_be_written_leaves_the_one_before(
    write, tmp_path, capsys, monkeypatch
):
    write(place("dtd", 1), {"base": 80.0, "new": 60.0})
    file = tmp_path / "report.txt"
    assert main([str(tmp_path / "out"), "--output", str(file)]) == 0
    before = file.read_text()

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert main([str(tmp_path / "out"), "--format", "csv", "--output", str(file)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: no space left on the disk") and error.count("\n") == 1
    assert file.read_text() == before
    assert not list(tmp_path.glob(".*"))
