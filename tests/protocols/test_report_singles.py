"""Runs of no protocol in a report, and what the user calls things."""

import json
import re

import pytest
from report import main

CLIP = {"base": {"accuracy": 58.0}, "new": {"accuracy": 55.7}}
OWN = {"base": {"accuracy": 77.3}, "new": {"accuracy": 60.3}}


@pytest.fixture
def write(tmp_path):
    def write(place: str, own: dict, clip: dict, **fields):
        folder = tmp_path / "output" / place
        folder.mkdir(parents=True)
        found = {"results": {"zero-shot CLIP": clip, "ivlp under prometar": own}}
        found |= {"dataset": "shapes", "shots": 16, "seed": 1} | fields
        (folder / "results.json").write_text(json.dumps(found))
        return folder

    return write


@pytest.fixture
def report(tmp_path, capsys):
    def report(*words: str) -> str:
        assert main([str(tmp_path / "output"), *words]) == 0
        return capsys.readouterr().out

    return report


def test_a_single_run_has_a_row(write, report):
    write("shapes/prometar-ivlp/tiny/base-16shots-seed1-run1", OWN, CLIP)
    words = report().split("\n\n")[1].split()
    assert words[:6] == ["run", "model", "dataset", "shots", "seed", "base"]
    row = " ".join(words).rpartition("- ")[2]
    assert row == (
        "base-16shots-seed1-run1 ivlp under prometar shapes 16 1 77.3 60.3 67.7 58.0 55.7 56.8"
    )


def test_single_runs_are_named_below_what_they_share(write, report, tmp_path):
    write("a/run1", OWN, CLIP, warnings=["few pictures"])
    write("b/run1", {"all": {"accuracy": 50.0}}, {}, shots=-1, split={"note": "another split"})
    begun = tmp_path / "output" / "b" / "run2"
    begun.mkdir()
    (begun / "config.yaml").write_text("")
    (begun / "log.txt").write_text("")
    text = report()
    assert f"single runs in {tmp_path}/output" in " ".join(text.split())
    rows = [line.split() for line in text.splitlines() if "under" in line]
    assert [row[0] for row in rows] == ["a/run1", "b/run1"]
    assert rows[1][4:7] == ["shapes", "all", "1"]
    assert "b/run1: another split" in text
    assert "CAUTION: a/run1: few pictures" in text
    assert "INCOMPLETE: b/run2: no results.json in" in text


def test_what_is_no_run_is_not_taken_for_one(write, report, tmp_path):
    write("a/run1", OWN, CLIP)
    meta = tmp_path / "output" / "gram"
    meta.mkdir()
    (meta / "results.json").write_text('{"validations": [], "warnings": []}')
    other = tmp_path / "output" / "elsewhere"
    other.mkdir()
    (other / "config.yaml").write_text("not: a run")
    text = report()
    assert "gram" not in text and "elsewhere" not in text


@pytest.mark.parametrize("form", ["text", "markdown", "latex", "html", "csv"])
def test_names_of_ones_own(form, kept_protocol_runs, capsys):
    names = ["--name", "coop=CoOp & co", "--name", "zero-shot CLIP=CLIP", "--name", "dtd=DTD"]
    assert main([str(kept_protocol_runs / "base2new"), "--format", form, *names]) == 0
    out = capsys.readouterr().out
    escaped = {"latex": r"CoOp \& co", "html": "CoOp &amp; co", "markdown": "CoOp &amp; co"}
    assert escaped.get(form, "CoOp & co") in out
    if form != "csv":  # which has the names of the folders, too
        out = re.sub('placeholder="maple dtd"|base64,[^"]+', "", out)
        assert "DTD" in out and "dtd" not in out and "zero-shot CLIP" not in out.split("<main>")[0]


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["cop=CoOp"], "--name cop: no method or dataset is called so; did you mean 'coop'?"),
        (["coop"], "--name takes OLD=NEW, such as coop=CoOp, not 'coop'"),
        (["coop=X", "maple=X"], "would both be called 'X'"),
    ],
)
def test_a_name_of_nothing_is_refused(names, says, kept_protocol_runs, capsys):
    words = [word for name in names for word in ("--name", name)]
    assert main([str(kept_protocol_runs), *words]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


def test_zero_shot_clip_is_one_thing(protocol_runs, capsys):
    """A method that is zero-shot CLIP itself, beside the comparison that every run has."""
    place = protocol_runs / "base2new/zeroshot/vit_b16/dtd/shots_16"
    clip = {"base": {"accuracy": 53.0}, "new": {"accuracy": 60.0}}
    for seed in (1, 2, 3):
        (place / f"seed_{seed}").mkdir(parents=True)
        found = {"results": {"zero-shot CLIP": clip, "zeroshot": clip}}
        (place / f"seed_{seed}" / "results.json").write_text(json.dumps(found))
    assert main([str(protocol_runs / "base2new")]) == 0
    overview = capsys.readouterr().out.split("\n\n")[1].splitlines()
    assert [line.split("  ")[0] for line in overview[2:]] == ["coop", "maple", "zero-shot CLIP"]
    assert main([str(protocol_runs / "base2new"), "--format", "html"]) == 0
    page = capsys.readouterr().out
    legend = page.partition('<ul class="marks"')[2].partition("</ul>")[0]
    assert legend.count("<li>") == 3 and legend.count("zero-shot CLIP") == 1
    assert "zeroshot" not in page
