"""Whole sweeps with workers and drivers killed in the middle: no cell is lost, none run twice."""

import functools
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest
import sweep  # tools/ is on the path

from softprompt.core.protocols import worker

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow
MINUTES = 60 * 8

# In the folder $MARKS it notes who trains; the first of all dies, or waits there to be killed.
PLUGIN = """
import os, signal, time
from pathlib import Path
from softprompt.core import TRAINERS
from softprompt.trainers.erm import ERM

@TRAINERS.register("stumbling")
class Stumbling(ERM):
    def after_epoch(self, epoch):
        marks = Path(os.environ["MARKS"])
        (marks / f"pid-{os.getpid()}").touch()
        if epoch != 1:
            return
        try:
            (marks / "first").touch(exist_ok=False)
        except FileExistsError:
            return
        if os.environ["FIRST"] == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if os.environ["FIRST"] == "raises":
            raise RuntimeError("stumbled")
        if os.environ["FIRST"] == "waits":
            (marks / "waiting").touch()
            time.sleep(3600)
"""


class Sweep:
    """One sweep, with a folder of its own."""

    def __init__(self, plugin: Path, folder: Path, engine: str = "local"):
        self.folder = folder
        self.marks = folder / "marks"
        self.marks.mkdir(parents=True)
        how = {"slurm": ["--slurm", "cluster=local"], "local": ["--threads", "1"]}.get(engine, [])
        self.arguments = [
            *("base2new", "--engine", engine, *how),
            *("--config-file", "configs/coop/tiny.yaml", "--datasets", "shapes", "patterns"),
            *("--seeds", "1", "2", "--shots", "1", "--jobs", "2"),
            *("--output-dir", str(folder / "out"), "PLUGINS", str(plugin)),
            *("TRAINER.NAME", "stumbling", "OPTIM.MAX_EPOCH", "3", "OPTIM.WARMUP_EPOCH", "0"),
            *("TEST.MAX_IMAGES", "40"),
        ]

    def environment(self, first: str) -> dict[str, str]:
        """Return what tells the plugin where it makes marks and what the first of all does."""
        return {"MARKS": str(self.marks), "FIRST": first}

    def begin(self, first: str, *more: str) -> subprocess.Popen:
        """Start a driver, a process of its own: Ray's threads would outlive a sweep in this one."""
        return subprocess.Popen(
            [sys.executable, str(ROOT / "tools/sweep.py"), *self.arguments, *more],
            env=os.environ | self.environment(first) | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, first: str, *more: str) -> tuple[int, str, str]:
        process = self.begin(first, *more)
        out, errors = process.communicate(timeout=MINUTES)
        return process.returncode, out, errors

    def written(self, name: str) -> list[Path]:
        """The files of this name in the cells' folders, deeper in which others come and go."""
        return sorted((self.folder / "out").glob(f"base2new/*/*/*/shots_*/seed_*/{name}"))

    def scores(self) -> dict[str, dict]:
        """Of each finished cell by name, all but times, memory and the folder of the plugin."""
        found = {}
        for file in self.written("results.json"):
            results = json.loads(file.read_text())
            for own in (
                "seconds",
                "processor_seconds",
                "finished",
                "peak_memory",
                "config",
                "config_hash",
            ):
                del results[own]
            parts = file.relative_to(self.folder / "out").parts
            found["/".join([parts[0], *parts[3:-1]])] = results
        return found

    def trained_once(self) -> bool:
        """Whether no epoch of any cell was recorded twice."""
        files = self.written("metrics.jsonl")
        steps = [[json.loads(line)["step"] for line in f.read_text().splitlines()] for f in files]
        logs = [f.with_name("log.txt").read_text() for f in files]
        return (
            len(files) == 4
            and all(each == list(range(len(each))) for each in steps)
            and all(log.count("finished: ") == 1 for log in logs)
        )

    def pids(self) -> set[int]:
        return {int(file.name.removeprefix("pid-")) for file in self.marks.glob("pid-*")}


@pytest.fixture(scope="module")
def make_sweep(module_plugin_file):
    """Sweeps with one file of the plugin, which this process imports as well."""
    return functools.partial(Sweep, module_plugin_file(PLUGIN, "stumbling.py"))


@pytest.fixture(scope="module")
def undisturbed(make_sweep, tmp_path_factory) -> Sweep:
    """The cells one after the other, in this process."""
    undisturbed = make_sweep(tmp_path_factory.mktemp("undisturbed"))
    with pytest.MonkeyPatch.context() as patched:
        for name, value in undisturbed.environment("trains").items():
            patched.setenv(name, value)
        for cell in sweep.cells_of(sweep.parse(undisturbed.arguments)):
            assert worker.run_cell(asdict(cell))["state"] == worker.DONE
    assert len(undisturbed.scores()) == 4
    return undisturbed


def tables(out: str) -> str:
    """The report at the end, without what names folders."""
    return "\n".join(line for line in out.splitlines() if line.startswith(("shapes", "patt", "av")))


def assert_nothing_is_lost(disturbed: Sweep, undisturbed: Sweep, out: str) -> None:
    """All cells are there, each trained once, and the same command runs nothing again."""
    assert disturbed.scores() == undisturbed.scores()
    assert disturbed.trained_once()
    code, again, _ = disturbed.run("trains")
    assert (code, again.splitlines()[0]) == (0, "4 cells, 4 of them finished already")
    assert tables(again) == tables(out) != ""


def test_a_killed_worker_costs_nothing_but_time(undisturbed, make_sweep, tmp_path):
    killed = make_sweep(tmp_path, "slurm")
    code, out, errors = killed.run("dies")
    assert (code, out.splitlines()[0]) == (0, "4 cells, 0 of them finished already"), errors
    assert_nothing_is_lost(killed, undisturbed, out)


@pytest.mark.parametrize("engine", ["local", "ray"])
def test_a_killed_driver_takes_its_workers_along_and_goes_on(
    engine, undisturbed, make_sweep, tmp_path
):
    """When it goes on, a worker is killed as well."""
    killed = make_sweep(tmp_path, engine)
    driver = killed.begin("waits")
    wait_for(lambda: (killed.marks / "waiting").exists())
    wait_for(lambda: len(killed.scores()) == 2)  # the other worker is done with its dataset
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate(timeout=MINUTES)
    wait_for(lambda: not any(map(is_alive, killed.pids())))
    finished = len(killed.scores())
    assert finished < 4
    (killed.marks / "first").unlink()
    code, out, errors = killed.run("dies", "--jobs", "1")
    assert code == 0, errors
    assert out.splitlines()[0] == f"4 cells, {finished} of them finished already"
    assert (killed.marks / "first").exists()
    assert_nothing_is_lost(killed, undisturbed, out)


def test_an_interrupt_ends_a_shell_tool_and_its_workers(make_sweep, tmp_path):
    """As Ctrl-C does, which reaches all processes of a terminal."""
    interrupted = make_sweep(tmp_path)
    pairs = interrupted.arguments[interrupted.arguments.index("PLUGINS") :]
    own = {"MARKS": str(interrupted.marks), "FIRST": "waits", "SEEDS": "1", "SHOTS": "1"}
    process = subprocess.Popen(
        [str(ROOT / "tools/base2new.sh"), "configs/coop/tiny.yaml", "shapes", "--", *pairs],
        env=os.environ | own | {"PYTHON": sys.executable, "OUTPUT": str(tmp_path / "out")},
        start_new_session=True,
        # What a shell starts in the background ignores SIGINT, and so would all that it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: (interrupted.marks / "waiting").exists() or process.poll() is not None)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=MINUTES)
    assert process.returncode == 130
    assert errors.startswith("interrupted; the same command goes on\n")
    wait_for(lambda: not any(map(is_alive, interrupted.pids())))
    assert not interrupted.scores()


def test_two_drivers_share_the_cells(undisturbed, make_sweep, tmp_path):
    shared = make_sweep(tmp_path)
    drivers = [shared.begin("trains", "--jobs", "1") for _ in range(2)]
    for driver in drivers:
        out, errors = driver.communicate(timeout=MINUTES)
        assert driver.returncode == 0, errors
    assert shared.scores() == undisturbed.scores()
    assert shared.trained_once()


def test_an_error_is_tried_again_and_told(
    undisturbed, make_sweep, in_process, tmp_path, monkeypatch, capsys
):
    in_process()
    stumbled = make_sweep(tmp_path)
    for name, value in stumbled.environment("raises").items():
        monkeypatch.setenv(name, value)
    assert sweep.main([*stumbled.arguments, "--retries", "0"]) == 1
    out, errors = capsys.readouterr()
    assert "1 of 4 cells failed:" in errors and "RuntimeError: stumbled (see" in errors
    assert "INCOMPLETE" in out and len(stumbled.scores()) == 3
    (stumbled.marks / "first").unlink()
    assert sweep.main([*stumbled.arguments, "--retries", "1"]) == 0
    assert stumbled.scores() == undisturbed.scores()


def is_alive(pid: int) -> bool:
    """Whether it runs: one that has ended stays listed until its parent asks how."""
    try:
        os.kill(pid, 0)
        status = Path(f"/proc/{pid}/stat").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def wait_for(condition) -> None:
    until = time.monotonic() + MINUTES
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.2)
