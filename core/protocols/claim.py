"""Claims: which live process runs a cell, on one machine or on several with one file system.

On one machine a claim is a lock that the kernel holds for a process and drops with it. Between
machines, whose locks may not be seen by one another, it is a numbered file that its owner touches;
one that was not touched for ``STALE`` seconds is dead. A dead claim is taken over by creating the
next number, which only one can.
"""

import json
import os
import platform
import threading
import uuid
from pathlib import Path

from filelock import FileLock, Timeout

BEAT = 10.0  # seconds between two touches
STALE = 120.0  # seconds without a touch, after which an owner on another machine counts as dead
# Where no network card is found, this is a number of each process, and claims go by their touches.
HOST = f"{platform.node()}-{uuid.getnode():x}"


class Claim:
    """A claim that is held; leaving its context gives it back."""

    def __init__(self, place: Path, number: int, lock: FileLock):
        self.file = place / f"{number}.json"
        self.number = number
        self.lock = lock
        self.ended = threading.Event()

    def __enter__(self) -> "Claim":
        self.beating = threading.Thread(target=self._beat, daemon=True)
        self.beating.start()
        return self

    def __exit__(self, *_) -> None:
        self.ended.set()
        self.beating.join()
        for number, file in _numbers(self.file.parent):  # in this order: the live one goes last
            if number <= self.number:
                file.unlink(missing_ok=True)
        self.lock.release()

    def _beat(self) -> None:
        while not self.ended.wait(BEAT):
            try:
                claimed = _numbers(self.file.parent)
                if not claimed or claimed[-1][0] != self.number:
                    os._exit(1)  # held up for so long that another machine has taken over
                os.utime(self.file)
            except OSError:  # a file system that is shared may fail for a moment
                continue


def take(place: Path) -> Claim | None:
    """Return a claim on what ``place`` stands for, or None if a live process holds one."""
    place.mkdir(parents=True, exist_ok=True)
    lock = FileLock(place / f"{HOST}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    claimed = _numbers(place)
    number, file = claimed[-1] if claimed else (0, None)
    if file is None or not _beats(file, place):
        try:
            with open(place / f"{number + 1}.json", "x", encoding="utf-8") as opened:
                json.dump({"host": HOST, "pid": os.getpid()}, opened)
            return Claim(place, number + 1, lock)
        except FileExistsError:  # another machine was faster
            pass
    lock.release()
    return None


def held(place: Path) -> bool:
    """Whether a live process holds a claim."""
    claimed = _numbers(place)
    if not claimed:
        return False
    lock = FileLock(place / f"{HOST}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    try:
        return _beats(claimed[-1][1], place)
    finally:
        lock.release()


def _beats(file: Path, place: Path) -> bool:
    """Whether the owner of a claim lives on another machine; we hold the lock of this one."""
    try:
        text = file.read_text(encoding="utf-8")
        age = _now(place) - file.stat().st_mtime
    except FileNotFoundError:  # given back just now
        return False
    host = json.loads(text)["host"] if text else ""  # "": being written
    return host != HOST and age < STALE


def _now(place: Path) -> float:
    """The file system's own time, which touches are compared with."""
    lock = place / f"{HOST}.lock"
    os.utime(lock)
    return lock.stat().st_mtime


def _numbers(place: Path) -> list[tuple[int, Path]]:
    return sorted((int(file.stem), file) for file in place.glob("[0-9]*.json"))
