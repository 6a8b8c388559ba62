"""Disks that are full or read-only: one line, and after making room all goes on to the bit."""

import ctypes
import os
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from forked import TRAIN, run
from hypothesis import strategies as st
from inputs import Campaign
from oracle import judge
from test_kills import LONG, contents, same

KIND = "full and read-only disks"
NEW_USER, NEW_MOUNTS, READ_ONLY, REMOUNT = 0x10000000, 0x20000, 1, 32


class Disk:
    """A small file system in memory, which only this process and its children see."""

    def __init__(self, place: Path, kilobytes: int) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._place = str(place).encode()
        user, group = os.getuid(), os.getgid()
        self._check(self._libc.unshare(NEW_USER | NEW_MOUNTS))
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
        self._mount(0, kilobytes)

    def resize(self, kilobytes: int) -> None:
        self._mount(REMOUNT, kilobytes)

    def make_read_only(self) -> None:
        self._mount(REMOUNT | READ_ONLY, 65536)

    def _mount(self, flags: int, kilobytes: int) -> None:
        size = f"size={kilobytes}k".encode()
        self._check(self._libc.mount(b"tmpfs", self._place, b"tmpfs", flags, size))

    def _check(self, code: int) -> None:
        if code:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))


def apart(work: Callable[[], None]) -> None:
    """Call a function in a process of its own; raise what it raises."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        try:
            work()
        except BaseException as error:
            said = str(error) if isinstance(error, AssertionError) else traceback.format_exc()
            with os.fdopen(writer, "wb") as file:
                file.write(said.encode(errors="replace"))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        said = file.read().decode()
    os.waitpid(pid, 0)
    assert not said, said


@pytest.fixture(scope="module", autouse=True)
def disks(tmp_path_factory):
    place = tmp_path_factory.mktemp("disk")
    try:
        apart(lambda: Disk(place, 64) and None)
    except AssertionError as error:
        pytest.skip(f"no file system can be mounted here: {error}")


@pytest.fixture(scope="module")
def wanted(tmp_path_factory) -> dict[str, bytes]:
    place = tmp_path_factory.mktemp("undisturbed")
    assert run("train", *WORDS, cwd=place).code == 0
    return contents(place / "run")


WORDS = (*TRAIN, *LONG, "--output-dir", "run")


def test_full_disks(campaign: Campaign, wanted):
    """The disk is full after so many kilobytes; then it is made larger."""

    def check(kilobytes: int, folder: Path) -> None:
        def work() -> None:
            disk = Disk(folder, kilobytes)
            outcome = run("train", *WORDS, cwd=folder)
            judge(outcome, (0, 1, 2))
            disk.resize(65536)
            outcome = run("train", *WORDS, "--resume", cwd=folder)
            judge(outcome, (0,))
            same(contents(folder / "run"), wanted)

        apart(work)

    campaign.run(st.integers(1, 30).map(lambda pages: 4 * pages), check, inputs=30)


def test_a_cache_on_a_full_disk(campaign: Campaign):
    """A cache is a luxury: without room for it the run says so, before or without it."""

    def check(kilobytes: int, folder: Path) -> None:
        (folder / "cache").mkdir()

        def work() -> None:
            disk = Disk(folder / "cache", kilobytes)
            words = (*TRAIN, "CACHE.DIR", "cache", "--output-dir", "run", "TEST.MAX_IMAGES", "80")
            judge(run("train", *words, cwd=folder), (0, 1, 2))
            disk.resize(65536)
            judge(run("train", *words, "--resume", cwd=folder), (0,))

        apart(work)

    campaign.run(st.integers(1, 20).map(lambda pages: 4 * pages), check, inputs=12)


def test_reports_on_a_full_disk(campaign: Campaign, finished_run):
    """The report that was there stays."""

    def check(case: tuple[int, str], folder: Path) -> None:
        kilobytes, form = case

        def work() -> None:
            disk = Disk(folder, 65536)
            (folder / "report").write_text("old\n" * (kilobytes * 200))
            disk.resize(kilobytes)
            words = ("report", str(finished_run), "--format", form, "--output", "report")
            outcome = run(*words, cwd=folder)
            judge(outcome, (0, 1, 2))
            if outcome.code:
                assert (folder / "report").read_text().startswith("old"), "the old one is gone"

        apart(work)

    forms = st.sampled_from(["text", "csv", "html"])
    campaign.run(st.tuples(st.sampled_from([4, 8, 12]), forms), check, inputs=9)


def test_read_only_places(campaign: Campaign, finished_run):
    def check(words: tuple[str, ...], folder: Path) -> None:
        def work() -> None:
            Disk(folder, 64).make_read_only()
            outcome = run(*words, cwd=folder)
            judge(outcome)
            assert outcome.code == 2, f"it can write nowhere, and does not say so: {outcome}"

        apart(work)

    config = TRAIN[1]
    commands = (
        ("train", *TRAIN, "--output-dir", "run"),
        ("train", *TRAIN, "--output-dir", "/tmp", "CACHE.DIR", "cache"),
        ("report", str(finished_run), "--output", "report.html"),
        ("sweep", "few_shot", "--config-file", config, "--datasets", "shapes", "--output-dir", "o"),
        ("matrix", "--output-dir", "out"),
        ("benchmark", "--output-dir", "out", "--size", "tiny"),
        ("clusters", "drawn", "--cache", "cache"),
        ("meta_train", "--config-file", "configs/gram/meta_tiny.yaml", "--output-dir", "meta"),
        ("gram_controls", "--output-dir", "out"),
        ("import_coop", "--config-file", config, "--config-only", "x.yaml"),
    )
    campaign.run(st.sampled_from(commands), check, inputs=len(commands))
