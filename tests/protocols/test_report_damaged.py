"""Reports of damaged results: the file is named, left out, and every format says so."""

import json
import math

import pytest
from report import FORMATS, main

from softprompt.core.base.errors import UserError
from softprompt.core.protocols.cost import estimates
from softprompt.core.protocols.runs import find_runs
from softprompt.core.protocols.stored import FIELDS, read_run

SCORES = {"base": {"accuracy": 70.0}, "new": {"accuracy": 60.0}}
GOOD = {"results": {"zero-shot CLIP": SCORES, "coop under erm": SCORES}}


def changed(**fields) -> str:
    return json.dumps(GOOD | fields)


def scored(accuracy) -> str:
    return changed(results={"coop": {"base": {"accuracy": accuracy}}})


SEVERAL = changed(results={"a": SCORES, "b": SCORES})
READER = "results.json"  # core/engine/results.py says it, in words of its own
DAMAGED = {  # contents, and what is said of them
    "cut off": (changed()[:40], READER),
    "empty": ("", READER),
    "no text": (b"\xff\xfe\x00", READER),
    "list": ("[1]", READER),
    "null": ("null", READER),
    "number": ("3", READER),
    "deep": ("[" * 100_000, READER),
    "without results": ("{}", READER),
    "results a list": (changed(results=[1]), READER),
    "model a text": (changed(results={"a": "b"}), READER),
    "scores a list": (changed(results={"a": {"base": []}}), READER),
    "text": (scored("70"), READER),
    "null accuracy": (scored(None), READER),
    "no model": (changed(results={}), "of 0 models beside zero-shot CLIP"),
    "several models": (SEVERAL, "of 2 models ('a', 'b')"),
    "true": (scored(True), READER),
    "nan": (scored(math.nan), "accuracy is nan"),
    "infinite": (scored(math.inf), "accuracy is inf"),
    "negative": (scored(-1), "accuracy is -1"),
    "huge": (scored(10**400), "accuracy is 1000"),
    "half": (changed(results={"a": {"all": {"accuracy": 1, "base": {}}}}), "base has no accuracy"),
    **{f"wrong {key}": (changed(**{key: [{}]}), f"{key} is not ") for key in FIELDS},
    "nan seconds": (changed(seconds={"train": math.nan}), "seconds is not seconds"),
}


@pytest.fixture
def folder(tmp_path):
    """Two runs of a protocol, the second of which is to be damaged."""
    for seed in (1, 2):
        place = tmp_path / f"out/base2new/coop/tiny/dtd/shots_16/seed_{seed}"
        place.mkdir(parents=True)
        (place / "results.json").write_text(json.dumps(GOOD))
    return place


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_said_in_one_line_that_names_the_file(name, folder):
    contents, says = DAMAGED[name]
    file = folder / "results.json"
    file.write_bytes(contents if isinstance(contents, bytes) else contents.encode())
    with pytest.raises(UserError) as raised:
        read_run(folder)
    said = str(raised.value)
    assert str(file) in said and says in said and "\n" not in said
    (damaged,) = [run for run in find_runs([folder.parents[1]]) if run.damage]
    assert damaged.results is None and damaged.damage == str(raised.value)


def test_results_of_earlier_versions_lack_what_came_later(folder):
    found = read_run(folder)
    assert found["warnings"] == [] and found["split"] == {"note": ""} and found["threads"] is None


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_says_what_is_left_out(form, folder, tmp_path, capsys):
    (folder / "results.json").write_text(SEVERAL)
    file = tmp_path / "report"
    status = main([str(tmp_path / "out"), "--format", form, "--output", str(file)])
    said = capsys.readouterr()
    assert status == 1 and f"left out: {folder}/results.json is damaged" in said.err
    text = " ".join(file.read_text(encoding="utf-8").split())
    assert "left out" in text.lower() and "results.json is damaged: results are of 2 models" in text
    assert "70.0" in text  # of the other run


def test_a_report_of_nothing_but_damage_is_that(folder, capsys):
    (folder / "results.json").write_text("{}")
    assert main([str(folder)]) == 1
    out = capsys.readouterr().out
    assert out.startswith("LEFT OUT: 1 results file:\n") and "INCOMPLETE" in out


def test_costs_are_estimated_from_the_other_cells(folder):
    from softprompt.core.protocols.cells import Cell

    (folder / "results.json").write_text("[]")
    cell = Cell.below(folder, "", name="a", method="a", group=(), config_file="c", flags={})
    assert estimates([cell]) == {}


def test_a_file_that_the_report_goes_to_keeps_what_it_holds(folder, tmp_path, capsys):
    assert main([str(tmp_path / "out"), "--output", str(tmp_path)]) == 2
    assert "is a folder; give a file" in capsys.readouterr().err
    (tmp_path / "file").write_text("kept")
    assert main([str(tmp_path / "out"), "--output", str(tmp_path / "file" / "report")]) == 2
    error = capsys.readouterr().err
    assert "is a file; give a folder" in error and error.count("\n") == 1
    assert (tmp_path / "file").read_text() == "kept"
