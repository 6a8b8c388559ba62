"""What all commands share: one line for each mistake, exit codes, tracebacks on request."""

import errno
import os
import re

import pytest

from softprompt.core.base.cli import Parser, at_least, command, refuse_together
from softprompt.core.base.errors import UserError, shown
from softprompt.core.base.files import check_file, check_folder


class Method:
    def loss(self):
        raise KeyError("nothing\nhere")


def tool(error: Exception | None = None, ran: list | None = None):
    @command()
    def main(arguments: list[str]) -> int:
        if ran is not None:
            ran.extend(arguments)
        if error:
            raise error
        Method().loss()
        return 0

    return main


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (UserError("yours"), 2, r"error: yours"),
        (None, 1, r"error: KeyError: '.*' \(.*test_cli.py, line \d+, in Method.loss\); --debug .*"),
        (OSError(errno.ENOSPC, "No space", "/x"), 2, r"error: no space left on the disk of /.*"),
        (ValueError("two\nlines"), 1, r"error: ValueError: two \(.*"),
        (ValueError(), 1, r"error: ValueError: ValueError .*"),
    ],
)
def test_an_error_is_one_line_whose_exit_code_says_whose_it_is(
    error, code, says, capsys, monkeypatch
):
    monkeypatch.setitem(globals(), "__name__", "softprompt.core.method")
    monkeypatch.delenv("SOFTPROMPT_DEBUG", raising=False)
    assert tool(error)([]) == code
    assert re.fullmatch(says + r"\n", capsys.readouterr().err)


@pytest.mark.parametrize(("flags", "variable"), [(["--debug"], "0"), ([], "1")])
@pytest.mark.parametrize(("error", "code"), [(UserError("yours"), 2), (KeyError("a"), 1)])
def test_the_traceback_is_shown_on_request(flags, variable, error, code, capsys, monkeypatch):
    monkeypatch.setenv("SOFTPROMPT_DEBUG", variable)
    ran: list[str] = []
    assert tool(error, ran)(["a", *flags]) == code
    said = capsys.readouterr().err
    assert said.startswith("Traceback") and "test_cli.py" in said and "--debug" not in said
    assert ran == ["a"]


def test_a_flag_may_be_written_with_underscores():
    ran: list[str] = []
    tool(ran=ran)(["--held_out=a_b", "--output_dir", "a_b", "A_B", "--"])
    assert ran == ["--held-out=a_b", "--output-dir", "a_b", "A_B", "--"]


def parse(*arguments: str):
    parser = Parser(prog="x.py")
    parser.add_argument("--number", type=at_least(1), default=0)
    parser.add_argument("--list", action="store_true")
    return parser.parse_args(arguments)


@pytest.mark.parametrize(("own", "given"), [("--seed", "--seeds"), ("--seeds", "--seed")])
def test_seed_and_seeds_are_one(own, given):
    parser = Parser()
    parser.add_argument(own, dest="seed", type=at_least(0))
    assert parser.parse_args([given, "3"]).seed == parser.parse_args([f"{own}=3"]).seed == 3
    assert parser.parse_args([f"{given}=3"]).seed == 3
    with pytest.raises(UserError, match=f"unrecognized arguments: {given}"):
        Parser().parse_args([given, "3"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--number", "0"], "argument --number: 0 is less than 1; x.py --help"),
        (["--number", "1.5"], "argument --number: '1.5' is no whole number"),
        (["--none"], "unrecognized arguments: --none"),
    ],
)
def test_what_a_parser_refuses_is_one_line(arguments, says):
    with pytest.raises(UserError, match=says):
        parse(*arguments)


def test_flags_that_would_do_nothing_are_refused():
    refuse_together(parse("--list"), "--list", "--number")
    with pytest.raises(UserError, match="--number would do nothing beside --list; leave one out"):
        refuse_together(parse("--list", "--number", "3"), "--list", "--number")


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("file", "X .*file is a file; give a folder"),
        ("file/a/b", "X .*file/a/b lies below .*file, which is a file"),
        ("n" * 256, "is no place to write to: File name too long"),
        ("/".join(["n" * 200] * 30), "is no place to write to: File name too long"),
        ("a\0b", "is no place to write to: .*null"),
        ("closed", "X .*closed cannot be written; give another folder"),
        ("closed/a/b", "X .*b cannot be written: there is no permission to write to .*closed;"),
    ],
)
def test_a_place_that_cannot_be_written_is_told_before_work_begins(
    place, says, tmp_path, monkeypatch
):
    (tmp_path / "file").touch()
    (tmp_path / "closed").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: "closed" not in str(path))  # root may all
    with pytest.raises(UserError, match=says) as error:
        check_folder(tmp_path / place, "X")
    assert len(str(error.value)) < 500
    assert sorted(os.listdir(tmp_path)) == ["closed", "file"]


def test_a_place_that_can_be_written_need_not_exist(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for place in (tmp_path, tmp_path / "a/b/c", tmp_path.relative_to(tmp_path), tmp_path / ".."):
        check_folder(place, "X")
    check_file(tmp_path / "a.txt", "X")
    (tmp_path / "a.txt").touch()
    check_file(tmp_path / "a.txt", "X")
    with pytest.raises(UserError, match="X .* is a folder; give a file"):
        check_file(tmp_path, "X")


def test_a_long_or_deep_value_is_cut():
    endless: list = []
    endless.append(endless)
    for value in ("a" * 10_000, endless, {str(k): [k] * 1000 for k in range(1000)}, 10**300):
        assert len(shown(value)) < 1000
    assert shown("ab") == "'ab'"
