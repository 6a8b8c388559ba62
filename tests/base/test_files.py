"""Writing files: whole or not at all, on the disk before they have their name, and in one place."""

import errno
import os
import re
import signal
import sys
from pathlib import Path

import pytest

from softprompt.core.base import files
from softprompt.core.base.cli import command
from softprompt.core.base.errors import UserError
from softprompt.core.base.files import DiskFull, publish, write_atomically, writing_to
from softprompt.core.base.formats import check_format, check_shape
from softprompt.core.base.signals import Terminated, deferred

CORE = Path(__file__).resolve().parents[2] / "core"


@pytest.fixture
def synced(monkeypatch):
    """The names of what is synced and renamed, in order."""
    done, sync, replace = [], files._sync, Path.replace

    def note_sync(path):
        done.append(f"sync {path.name}")
        sync(path)

    def note_replace(path, target):
        done.append(f"rename {target.name}")
        return replace(path, target)

    monkeypatch.setattr(files, "_sync", note_sync)
    monkeypatch.setattr(Path, "replace", note_replace)
    return done


def test_a_file_is_on_the_disk_before_it_has_its_name(synced, tmp_path):
    write_atomically(tmp_path / "a.txt", "größe\n")
    assert (tmp_path / "a.txt").read_bytes() == "größe\n".encode()
    partial, *rest = synced
    assert re.fullmatch(r"sync \.a\.txt\..*\.partial", partial)
    assert rest == ["rename a.txt", f"sync {tmp_path.name}"]


def test_so_is_all_that_a_folder_holds(synced, tmp_path):
    (tmp_path / "part" / "deep").mkdir(parents=True)
    for name in ("a", "deep/b"):
        (tmp_path / "part" / name).write_text(name)
    publish(tmp_path / "part", tmp_path / "whole")
    assert set(synced[:2]) == {"sync a", "sync b"}
    assert synced[2:] == ["rename whole", f"sync {tmp_path.name}"]


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path, monkeypatch):
    file = tmp_path / "report.html"
    file.write_text("before")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull, match=f"no space left on the disk of {tmp_path} .*, so make room"):
        with writing_to(file):
            write_atomically(file, "after")
    assert {place.name: place.read_text() for place in tmp_path.iterdir()} == {
        "report.html": "before"
    }


def test_a_disk_that_cannot_sync_serves(tmp_path, monkeypatch):
    def unable(descriptor):
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", unable)
    write_atomically(tmp_path / "a", b"1")
    assert (tmp_path / "a").read_bytes() == b"1"


def test_links_and_devices_stay_what_they_are(tmp_path):
    (tmp_path / "real").write_text("before")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_atomically(tmp_path / "link", "after")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_text() == "after"
    write_atomically(Path(os.devnull), "gone")


# Files that may be written in another way: into a folder that is renamed afterwards, onto a
# terminal, or beside something that does not need them.
OTHERS = {
    "base/files.py",
    "base/leases.py",  # its claims are created, which only one process can
    "coop/convert.py",  # refuses to overwrite
    "download/archive.py",
    "download/fetch.py",
    "download/ilsvrc.py",
    "download/place.py",
    "engine/checkpoint.py",
    "engine/recorder.py",  # appends
    "protocols/engines/local.py",
    "protocols/worker.py",  # a traceback for the author
    "studies/benchmark/machine.py",
}


def test_one_function_renames_into_place():
    """What writes or renames a file by itself can lose it in a power cut."""
    writes = re.compile(r"\.write_(text|bytes)\(|\.rename\(|os\.(replace|rename)\(|save_file\(")
    opens = re.compile(r"open\([^)]*[\"'][wax]b?[\"']")
    found = {
        file.relative_to(CORE).as_posix()
        for file in CORE.rglob("*.py")
        for text in [file.read_text(encoding="utf-8")]
        if writes.search(text) or opens.search(text)
    }
    assert found <= OTHERS


@command("interrupted; go on")
def tool(arguments: list[str]) -> int:
    (what,) = arguments
    if what == "full":
        raise OSError(errno.ENOSPC, "No space left on device", "/data/run/results.json")
    if what == "signal":
        os.kill(os.getpid(), signal.SIGTERM)
    if what == "said":
        raise Terminated("SIGTERM in epoch 1; saved")
    print(what)
    return 0


@pytest.mark.parametrize(
    ("what", "code", "says"),
    [
        ("full", 2, "error: no space left on the disk of /data/run (No space left on device); "),
        ("signal", 143, "interrupted; go on"),
        ("said", 143, "SIGTERM in epoch 1; saved"),
        ("nothing", 0, ""),
    ],
)
def test_a_command_ends_in_one_line(what, code, says, capsys):
    assert tool([what]) == code
    said = capsys.readouterr().err
    assert said.startswith(says) and said.count("\n") == bool(says)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_standard_output_is_one_line(capsys, monkeypatch):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert tool(["a table"]) == 2
        monkeypatch.undo()
    said = capsys.readouterr().err
    assert said.startswith("error: no space left") and said.count("\n") == 1


def test_a_second_signal_does_not_wait_for_the_step():
    with pytest.raises(Terminated), deferred() as end:
        os.kill(os.getpid(), signal.SIGTERM)
        assert end.name == "SIGTERM"
        os.kill(os.getpid(), signal.SIGTERM)


def test_signals_of_others_are_left_to_them():
    """As of submitit, which queues a job again."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with deferred() as end:
            os.kill(os.getpid(), signal.SIGTERM)
        assert not end.name
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_newer_format_names_what_is_needed(tmp_path):
    check_format(tmp_path, 1, known=1)
    with pytest.raises(
        UserError, match=r"has format 3, but softprompt \d+\.\d+\.\d+ reads .* 2; it"
    ):
        check_format(tmp_path, 3, known=2)
    for wrong in (None, "1", True, 0, 1.0):
        with pytest.raises(UserError, match="its format is .*, not a number such as 1"):
            check_format(tmp_path, wrong, known=1)


@pytest.mark.parametrize(
    ("found", "shape", "says"),
    [
        ([], {"a": int}, "it is list, not dict"),
        ({}, {"a": int}, "it has no 'a'"),
        ({"a": {"b": "1"}}, {"a": {"b": (int, float)}}, "its 'a.b' is str, not int or float"),
        ({"a": True}, {"a": int}, "its 'a' is bool, not int"),
        ({"a": [1, None]}, {"a": [int]}, r"its 'a\[1\]' is NoneType, not int"),
    ],
)
def test_a_shape_names_the_key(found, shape, says, tmp_path):
    with pytest.raises(UserError, match=f"{tmp_path} is damaged: {says}"):
        check_shape(tmp_path, found, shape)
