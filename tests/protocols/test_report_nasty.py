"""A report of runs whose names would steer a terminal, a spreadsheet, LaTeX or a browser."""

import csv
import io
import json
import re

import pytest
from report import FORMATS, main

NAMES = (
    "\x1b[2Ja|b`c",
    "=1+1\r\n\x9b31m\u202eevil",
    "50%_&#{}$~^\\",
    '<script>"alert"',
)
STEERING = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """Runs of a protocol and single ones; every text that a report shows is a nasty name."""
    out = tmp_path_factory.mktemp("nasty")
    for index, name in enumerate(NAMES):
        score = {"base": {"accuracy": 70.0 + index}, "new": {"accuracy": 60.0}}
        found = {
            "results": {"zero-shot CLIP": score, name: score},
            "warnings": [f"{name}\n"],
            "split": {"note": name},
            "sampled": {name: name},
            "environment": {"device": name, "commit": name, "versions": {"torch": name}},
            "dataset": name,
            "finished": name,
            "seconds": {"train": 1, "evaluate": 1},
        }
        for place in (f"base2new/{name}/{name}/{name}/shots_16/seed_1", f"single/{name}"):
            (out / place).mkdir(parents=True)
            (out / place / "results.json").write_text(json.dumps(found))
    damaged = out / "single" / f"{NAMES[0]}damaged"
    damaged.mkdir()
    (damaged / "results.json").write_text(json.dumps({"results": {NAMES[1]: [], "a": 1}}))
    return out


@pytest.mark.parametrize("form", FORMATS)
def test_no_format_lets_a_name_do_anything(form, out, capsys):
    assert main([str(out), "--format", form]) == 1  # for the damaged file
    text = capsys.readouterr().out
    assert not STEERING.search(text)
    assert r"\u001b" in text or r"\textbackslash{}u001b" in text
    if form == "html":
        assert text.count("<script>") == 1 and "&lt;script&gt;" in text
    if form == "latex":
        grid = "".join(line for line in text.splitlines() if not line.startswith("%"))
        assert r"50\%\_\&\#\{\}\$\textasciitilde{}\textasciicircum{}\textbackslash{}" in grid
        assert grid.count("{") - 2 * grid.count(r"\{") == grid.count("}") - 2 * grid.count(r"\}")
    if form == "csv":
        cells = [cell for row in csv.reader(io.StringIO(text)) for cell in row]
        starts = {cell[0] for cell in cells if cell and not is_number(cell)}
        assert not starts & set("=+-@\t\r")
    if form == "markdown":
        tables = [line for line in text.splitlines() if line.startswith("|")]
        assert {len(re.findall(r"(?<!\\)\|", line)) for line in tables if "script" in line} <= {
            len(re.findall(r"(?<!\\)\|", line)) for line in tables if "---" in line
        }
        assert "<" not in text and r"a\|b\`c" in text


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
