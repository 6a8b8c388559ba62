"""Nasty names: what each output makes of them, and that there is one door to the terminal."""

import ast
import csv
import io
import json
import logging
import re
from html import unescape
from pathlib import Path

import pytest

from softprompt.core.base import escape
from softprompt.core.base.cli import command
from softprompt.core.base.errors import UserError
from softprompt.core.base.log import log_lines, log_to_console, log_to_file, logger
from softprompt.core.base.say import say

ROOT = Path(__file__).resolve().parents[2]
NASTY = (
    "\x1b[2Jgone",
    "a|b`c``d",
    "50%_&#{}$~^\\",
    "=1+1",
    "@SUM(A1)",
    "<script>alert(1)</script>",
    "\u202eevil\u2066",
    "two\r\nlines\x85three\u2028four",
    "lone \ud800 half",
    "c1 \x9b31m bell\x07 del\x7f",
    "\ufeffmark\U000e0041tag",
    "[x](http://y) *b* _c_",
)
HARMLESS = ("кошка", "猫", "कुत्ता", "می\u200cخواهم", "👩\u200d🔬", "a – “b”", "x\u00a0y")
STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
nasty = pytest.mark.parametrize("name", NASTY, ids=ascii)


@nasty
def test_no_format_lets_control_characters_through(name):
    for form in (
        escape.one_line,
        escape.in_lines,
        escape.as_markdown,
        escape.as_markdown_code,
        escape.as_latex,
        escape.as_csv_cell,
        escape.as_html,
    ):
        shown = form(name)
        assert not STEERING.search(shown) and shown.encode()
    assert "\n" not in escape.one_line(name) and "\t" not in escape.one_line(name)


@pytest.mark.parametrize("name", HARMLESS)
def test_what_people_write_stays(name):
    assert escape.one_line(name) == name == unescape(escape.as_html(name))


@nasty
def test_what_is_escaped_can_be_read_back(name):
    assert json.loads(escape.in_lines(json.dumps([name], ensure_ascii=False))) == [name]


@nasty
def test_html_has_no_element_of_a_name(name):
    shown = escape.as_html(name)
    assert not set("<>\"'") & set(shown) and unescape(shown) == escape.one_line(name)


@nasty
def test_markdown_has_no_cell_span_or_element_of_a_name(name):
    shown = re.sub(r"\\.", "", escape.as_markdown(name))
    assert not set("|`*<>[]$~#") & set(shown)
    code = escape.as_markdown_code(name)
    fence = re.match("`+", code)[0]
    assert code.endswith(fence) and fence not in code[len(fence) : -len(fence)]
    assert not re.search(r"(?<!\\)\|", code)


@nasty
def test_latex_has_no_special_character_of_a_name(name):
    commands = r"\\text\w+\{\}|\\[&%$#_{}]|\$\\pm\$|\{[\[\]*]\}"
    assert not set("\\&%$#_{}~^<>|[]*") & set(re.sub(commands, "", escape.as_latex(name)))


@nasty
def test_a_spreadsheet_computes_no_name(name):
    text = io.StringIO()
    csv.writer(text).writerow([escape.as_csv_cell(name), "next"])
    (row,) = csv.reader(io.StringIO(text.getvalue()))
    assert row[1] == "next" and row[0][0] not in "=+-@\t\r＝＋－＠"


def test_a_word_keeps_its_underscores():
    assert escape.as_markdown("coop/vit_b16") == "coop/vit_b16"


@nasty
def test_the_log_has_one_line_a_message(name, tmp_path, capsys):
    log_to_console()
    handler = log_to_file(tmp_path)
    logger.info(f"class {name}")
    logger.removeHandler(handler)
    handler.close()
    line = f"class {escape.one_line(name)}\n"
    assert capsys.readouterr().out == line
    assert (tmp_path / "log.txt").read_text(encoding="utf-8").endswith(f" {line}")


def test_a_terminal_gets_long_messages_in_lines_of_its_width(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    log_to_console()
    log_lines(f"{'word ' * 12}end\n{'a  table ' * 8}")
    first, second, table = capsys.readouterr().out.splitlines()
    assert (first, second) == ("word " * 7 + "word", "  word word word word end")
    assert table == "a  table " * 8


def test_a_table_is_logged_line_by_line(caplog):
    logger.propagate = True
    with caplog.at_level(logging.INFO):
        log_lines("a  b\n1  2")
    assert [record.message for record in caplog.records] == ["a  b", "1  2"]


@nasty
def test_an_error_is_one_line(name, capsys):
    @command()
    def main(arguments):
        raise UserError(f"no class {name}")

    assert main([]) == 2
    assert capsys.readouterr().err == f"error: no class {escape.one_line(name)}\n"


def test_a_stream_that_lacks_a_character_shows_its_code(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii"))

    @command()
    def main(arguments):
        say("72.0 ±6.6")
        return 0

    assert main([]) == 0 and raw.getvalue() == b"72.0 \\xb16.6\n"


def test_everything_printed_goes_through_the_door():
    door = {ROOT / "core/base/say.py"}
    for folder in ("core", "tools", "trainers", "datasets"):
        for file in {*(ROOT / folder).rglob("*.py")} - door:
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
                assert not (called and node.func.id == "print"), (
                    f"{file}:{node.lineno}: say() and complain() of core/base/say.py print safely"
                )
