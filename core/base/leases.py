"""Leases: which live process has a folder to itself, on one machine or on several with one disk.

On one machine a lease is a lock that the kernel holds for a process and releases when it dies.
Other machines may not see that lock, and some shared disks have none, so a lease is also a numbered
file that its owner touches; one that was not touched for ``EXPIRY`` seconds has expired. An expired
lease is taken over by creating the file with the next number, which only one process can. A file
that no lease has written, such as one cut off by a full disk, is nobody's.
"""

import errno
import json
import os
import platform
import re
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

HEARTBEAT = 10.0  # seconds between two touches
EXPIRY = 120.0  # seconds without a touch, after which an owner on another machine counts as dead
WRITING = 10.0  # seconds that an owner may take to write its file
# Without a network card, getnode() is random in each process, and touches alone decide.
HOST = f"{platform.node()}-{uuid.getnode():x}"
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)  # of a file system


def end_process() -> None:
    """End this process at once: another one does its work."""
    os._exit(1)


class Lease:
    """A lease that this process owns; leaving its context releases it."""

    def __init__(self, place: Path, number: int, lock: FileLock | None, lost: Callable[[], None]):
        self.file = place / f"{number}.json"
        self.number = number
        self.lock = lock
        self.lost = lost
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
                with suppress(OSError):  # removed with its folder, or foreign
                    file.unlink()
        _release(self.lock)

    def is_ours(self) -> bool:
        """Whether no other process has taken over, nor anybody removed the folder."""
        leases = _numbered(self.file.parent)
        return bool(leases) and leases[-1][0] == self.number

    def _touch_file(self) -> None:
        while not self.released.wait(HEARTBEAT):
            try:
                if not self.is_ours():  # such as suspended for so long that another took over
                    self.lost()
                    return
                os.utime(self.file)
            except OSError:  # a shared file system may fail for a moment
                continue


def acquire(place: Path, lost: Callable[[], None] = end_process) -> Lease | None:
    """Return a lease on what the folder ``place`` represents, or None if a live process has one.

    Args:
        lost: called in a thread of its own once another process has taken over.

    Raises:
        OSError: the folder cannot be written to.
    """
    place.mkdir(parents=True, exist_ok=True)
    try:
        lock = _locked(place)
    except Timeout:
        return None
    try:
        lease = _claim(place, lock, lost)
    except BaseException:
        _release(lock)
        raise
    if lease is None:
        _release(lock)
    return lease


def is_leased(place: Path) -> bool:
    """Return whether a live process owns a lease on ``place``; nobody can where it is read-only."""
    leases = _numbered(place)
    if not leases:
        return False
    try:
        lock = _locked(place)
    except Timeout:
        return True
    except OSError:
        return False
    try:
        return _is_alive(leases[-1][1], place, lock)
    finally:
        _release(lock)


def owner(place: Path) -> str:
    """Return who has the lease on ``place``, in words."""
    leases = _numbered(place)
    found = _owner_in(leases[-1][1]) if leases else None
    if found is None:
        return "another process"
    host, pid = found
    name = "this machine" if host == HOST else host.rpartition("-")[0] or host
    return f"process {pid} on {name}"


def _locked(place: Path) -> FileLock | None:
    """Return this machine's lock on a folder, None on a disk without locks.

    Raises:
        Timeout: another process of this machine has it.
        OSError: the folder cannot be written to.
    """
    lock = FileLock(place / f"{HOST}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return None
    return lock


def _release(lock: FileLock | None) -> None:
    if lock is not None:
        lock.release()


def _claim(place: Path, lock: FileLock | None, lost: Callable[[], None]) -> Lease | None:
    leases = _numbered(place)
    number, file = leases[-1] if leases else (0, None)
    if file is not None and _is_alive(file, place, lock):
        return None
    own = place / f"{number + 1}.json"
    try:
        opened = open(own, "x", encoding="utf-8")
    except FileExistsError:  # another machine was faster
        return None
    try:
        with opened:
            json.dump({"host": HOST, "pid": os.getpid()}, opened)
    except OSError:  # such as a full disk
        with suppress(OSError):
            own.unlink()
        raise
    return Lease(place, number + 1, lock, lost)


def _is_alive(file: Path, place: Path, lock: FileLock | None) -> bool:
    """Return whether another process owns this lease and is alive.

    Args:
        lock: our machine's, by which its other processes are known to be dead; None: unknown.
    """
    try:
        age = _now(place) - file.stat().st_mtime
    except FileNotFoundError:  # released just now
        return False
    found = _owner_in(file)
    if found is None:
        return 0 <= age < WRITING
    # A touch that lies far ahead is none of this disk's clock.
    return (found[0] != HOST or lock is None) and abs(age) < EXPIRY


def _owner_in(file: Path) -> tuple[str, int] | None:
    """Return host and process of a lease's file, None if no owner has written it, or not yet."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    host, pid = (found.get("host"), found.get("pid")) if isinstance(found, dict) else (None, None)
    return (host, pid) if isinstance(host, str) and isinstance(pid, int) else None


def _now(place: Path) -> float:
    """Return the file system's own time, with which touches are compared."""
    lock = place / f"{HOST}.lock"
    lock.touch()
    return lock.stat().st_mtime


def _numbered(place: Path) -> list[tuple[int, Path]]:
    return sorted(
        (int(file.stem), file)
        for file in place.glob("[0-9]*.json")
        if re.fullmatch("[0-9]{1,18}", file.stem)
    )
