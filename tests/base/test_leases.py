"""Claims that no live process has: whatever is in their place, and whenever it is dated."""

import errno
import json
import os
import time
from pathlib import Path

import pytest

from softprompt.core.base import leases

FOREIGN = {
    "empty": ("3.json", b""),
    "cut off": ("3.json", b'{"host": "ano'),
    "a list": ("3.json", b"[1]"),
    "no host": ("3.json", b'{"pid": 1}'),
    "numbers": ("3.json", b'{"host": 1, "pid": "x"}'),
    "no text": ("3.json", b"\xff\xfe\x00"),
    "deep": ("3.json", b"[" * 100_000),
    "another name": ("3x.json", json.dumps({"host": "another", "pid": 1}).encode()),
    "a long number": (f"{'9' * 40}.json", json.dumps({"host": "another", "pid": 1}).encode()),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_damaged_claim_is_nobodys(kind, tmp_path):
    name, content = FOREIGN[kind]
    claim = tmp_path / name
    claim.write_bytes(content)
    os.utime(claim, (time.time() - leases.WRITING - 1,) * 2)
    assert not leases.is_leased(tmp_path)
    with leases.acquire(tmp_path) as mine:
        assert mine.is_ours() and mine.number == (4 if name == "3.json" else 1)
        assert leases.owner(tmp_path) == f"process {os.getpid()} on this machine"


def test_a_claim_may_be_in_the_middle_of_being_written(tmp_path):
    (tmp_path / "1.json").write_bytes(b"")
    assert leases.acquire(tmp_path) is None
    assert leases.owner(tmp_path) == "another process"


def test_a_folder_in_the_place_of_a_claim_is_none(tmp_path):
    (tmp_path / "3.json").mkdir()
    os.utime(tmp_path / "3.json", (0, 0))
    with leases.acquire(tmp_path) as mine:
        assert mine.number == 4


def test_a_claim_that_is_dated_ahead_is_nobodys(tmp_path):
    claim = tmp_path / "1.json"
    claim.write_text(json.dumps({"host": "another", "pid": 1}))
    assert leases.acquire(tmp_path) is None
    os.utime(claim, (time.time() + 86_400,) * 2)
    assert not leases.is_leased(tmp_path)
    with leases.acquire(tmp_path) as mine:
        assert mine.number == 2


def test_a_full_disk_leaves_no_claim(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="No space"):
        patched.setattr(leases.json, "dump", full)
        leases.acquire(tmp_path)
    assert not list(tmp_path.glob("*.json"))
    with leases.acquire(tmp_path) as mine:
        assert mine.number == 1


def test_a_disk_without_locks_has_the_touches(tmp_path, monkeypatch):
    class NoLock:
        def __init__(self, file):
            Path(file).touch()

        def acquire(self, timeout):
            raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(leases, "FileLock", NoLock)
    with leases.acquire(tmp_path) as mine:
        assert leases.is_leased(tmp_path) and leases.acquire(tmp_path) is None
        os.utime(mine.file, (time.time() - 2 * leases.EXPIRY,) * 2)
        assert not leases.is_leased(tmp_path)


def test_a_lost_lease_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "HEARTBEAT", 0.01)
    told = []
    with leases.acquire(tmp_path, lost=lambda: told.append(True)) as mine:
        mine.file.rename(tmp_path / "2.json")
        until = time.monotonic() + 60
        while not told and time.monotonic() < until:
            time.sleep(0.01)
        assert told and not mine.is_ours()
