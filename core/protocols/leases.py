"""Leases: which live process runs a cell, on one machine or on several with one file system.

On one machine a lease is a lock that the kernel holds for a process and releases when it dies.
Other machines may not see that lock, so a lease is also a numbered file that its owner touches; one
that was not touched for ``EXPIRY`` seconds has expired. An expired lease is taken over by creating
the file with the next number, which only one process can.
"""

import json
import os
import platform
import threading
import uuid
from pathlib import Path

from filelock import FileLock, Timeout

HEARTBEAT = 10.0  # seconds between two touches
EXPIRY = 120.0  # seconds without a touch, after which an owner on another machine counts as dead
# Without a network card, getnode() is random in each process, and touches alone decide.
HOST = f"{platform.node()}-{uuid.getnode():x}"


class Lease:
    """A lease that this process owns; leaving its context releases it."""

    def __init__(self, place: Path, number: int, lock: FileLock):
        self.file = place / f"{number}.json"
        self.number = number
        self.lock = lock
        self.released = threading.Event()
        self.heartbeat = threading.Thread(target=self._touch_file, daemon=True)

    def __enter__(self) -> "Lease":
        self.heartbeat.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self.heartbeat.join()
        for number, file in _numbered(self.file.parent):  # ascending: the valid one goes last
            if number <= self.number:
                file.unlink(missing_ok=True)
        self.lock.release()

    def _touch_file(self) -> None:
        while not self.released.wait(HEARTBEAT):
            try:
                leases = _numbered(self.file.parent)
                if not leases or leases[-1][0] != self.number:
                    os._exit(1)  # suspended for so long that another machine has taken over
                os.utime(self.file)
            except OSError:  # a shared file system may fail for a moment
                continue


def acquire(place: Path) -> Lease | None:
    """Return a lease on what the folder ``place`` represents, or None if a live process has one."""
    place.mkdir(parents=True, exist_ok=True)
    lock = FileLock(place / f"{HOST}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    leases = _numbered(place)
    number, file = leases[-1] if leases else (0, None)
    if file is None or not _is_alive_elsewhere(file, place):
        try:
            with open(place / f"{number + 1}.json", "x", encoding="utf-8") as opened:
                json.dump({"host": HOST, "pid": os.getpid()}, opened)
            return Lease(place, number + 1, lock)
        except FileExistsError:  # another machine was faster
            pass
    lock.release()
    return None


def is_leased(place: Path) -> bool:
    """Return whether a live process owns a lease on ``place``."""
    leases = _numbered(place)
    if not leases:
        return False
    lock = FileLock(place / f"{HOST}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    try:
        return _is_alive_elsewhere(leases[-1][1], place)
    finally:
        lock.release()


def _is_alive_elsewhere(file: Path, place: Path) -> bool:
    """Return whether another machine owns this lease and is alive; the caller has our lock."""
    try:
        text = file.read_text(encoding="utf-8")
        age = _now(place) - file.stat().st_mtime
    except FileNotFoundError:  # released just now
        return False
    host = json.loads(text)["host"] if text else ""  # "": being written
    return host != HOST and age < EXPIRY


def _now(place: Path) -> float:
    """Return the file system's own time, with which touches are compared."""
    lock = place / f"{HOST}.lock"
    os.utime(lock)
    return lock.stat().st_mtime


def _numbered(place: Path) -> list[tuple[int, Path]]:
    return sorted((int(file.stem), file) for file in place.glob("[0-9]*.json"))
