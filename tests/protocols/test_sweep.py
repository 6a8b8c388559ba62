"""The cells of a sweep, their leases and the order in which they are handed out; nothing trains."""

import errno
import io
import json
import os
import re
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from softprompt.core.base import leases
from softprompt.core.base.errors import UserError
from softprompt.core.engine.run_folder import sole_writer
from softprompt.core.protocols import worker
from softprompt.core.protocols.cells import EVALUATE
from softprompt.core.protocols.cost import listing
from softprompt.core.protocols.driver import drive
from softprompt.core.protocols.plans.protocols import method_name, plan
from softprompt.core.protocols.progress import Progress
from softprompt.core.protocols.queue import Queue
from softprompt.core.protocols.runs import find_runs

ROOT = Path(__file__).resolve().parents[2]
COOP = str(ROOT / "configs/coop/tiny.yaml")
MAPLE = str(ROOT / "configs/maple/tiny.yaml")
ZEROSHOT = str(ROOT / "configs/zeroshot/tiny.yaml")


def dataset(name: str) -> str:
    return str(ROOT / f"configs/datasets/{name}.yaml")


def cells_in(output: Path, protocol="base2new", configs=(COOP,), names=("shapes",), **how):
    how = {"seeds": [1, 2], **how}
    return plan(protocol, list(configs), [dataset(name) for name in names], output=output, **how)


def finish(cell, seconds: float = 1.0) -> None:
    Path(cell.folder).mkdir(parents=True)
    found = {"seconds": {"train": seconds, "evaluate": 0.5}}
    Path(cell.folder, "results.json").write_text(json.dumps(found))


LONG = [word for n in range(30) for word in (f"OPTIM.KEY{n}", f"value{n}")]
FIVE = "".join(f",OPTIM.KEY{n}=value{n}" for n in range(5))
NAMES = {  # what tools/*.sh, then of bash alone, called the folders; finished runs are in them
    "plain": ([], "coop/tiny"),
    "odd letters": (
        ["A.B", "it's a/b", "C.D", "(base, new)", "E.F", "größe", "G.H", ""],
        "coop/tiny,A.B=it_s_a_b,C.D=_base,_new_,E.F=gr____e,G.H=",
    ),
    "a cache": (
        ["CACHE.DIR", "/tmp/x", "OPTIM.LR", "1", "CACHE.LIMIT", "2"],
        "coop/tiny,OPTIM.LR=1",
    ),
    "long": (LONG, f"coop/tiny{FIVE},OPTIM.KEY-3933925968"),
}


@pytest.mark.parametrize(("pairs", "name"), NAMES.values(), ids=NAMES)
def test_folders_have_the_names_that_they_had(pairs, name):
    assert method_name(COOP, pairs) == name


@pytest.mark.parametrize(
    ("protocol", "names", "count"),
    [
        ("base2new", ("shapes", "patterns"), 2 * 2),
        ("few_shot", ("shapes", "patterns"), 2 * 5 * 2),
        ("cross_dataset", ("shapes", "patterns"), 2 * 2),
        ("domain_generalization", ("shapes", "shapes_v2", "shapes_sketch"), 2 * 3),
    ],
)
def test_every_cell_is_a_run_of_its_protocol(protocol, names, count, tmp_path):
    cells = cells_in(tmp_path, protocol, names=names)
    assert len(cells) == count
    for cell in cells:
        finish(cell)
        cfg = cell.configuration()
        assert cfg.OUTPUT_DIR == cell.folder
        (run,) = find_runs([cell.folder])
        assert run.folder == Path(cell.folder)
        assert (run.target or run.dataset) == cfg.DATASET.NAME
        assert run.seed == cfg.SEED
        assert run.target or run.shots == cfg.DATASET.NUM_SHOTS
        assert bool(run.target) == bool(cell.depends_on) == (cell.runner == EVALUATE)


def test_clip_without_training_is_only_evaluated(tmp_path):
    cells = cells_in(tmp_path, "cross_dataset", [ZEROSHOT], ("shapes", "patterns"), seeds=[1])
    assert [(cell.runner, cell.model_dir) for cell in cells] == [(EVALUATE, ""), (EVALUATE, "")]


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"protocol": "cross_dataset"}, "needs a source and at least one target .*given shapes"),
        ({"names": ()}, "base2new needs at least one dataset, but is given none"),
        ({"pairs": ["OPTIM.LR"]}, "'OPTIM.LR' is left over"),
        ({"pairs": ["OPTIM.LT", "1"]}, "no option OPTIM.LT"),
    ],
)
def test_a_mistake_is_found_before_anything_runs(how, says, tmp_path):
    with pytest.raises(UserError, match=says):
        cells_in(tmp_path, **how)


def test_two_files_that_would_share_a_folder_are_refused(tmp_path):
    other = tmp_path / "coop" / "tiny.yaml"
    other.parent.mkdir()
    other.write_text(f"_BASE_: {COOP}\n")
    with pytest.raises(UserError, match="would both write to coop/tiny"):
        cells_in(tmp_path, configs=[COOP, str(other)])


def costs_in(table: str) -> dict[str, list[str]]:
    return {line.split()[0]: line.split()[1:] for line in table.splitlines() if "seed" in line}


def test_a_dry_run_knows_what_finished_cells_have_cost(tmp_path):
    first, second, other, last = cells_in(tmp_path, configs=(COOP, MAPLE))
    assert "4 to run; 4 of unknown cost" in listing([first, second, other, last])
    finish(first, seconds=6.041541005000113)
    table = listing([first, second, other, last])
    assert costs_in(table) == {
        first.name: ["finished"],
        second.name: ["to", "run", "6.5"],
        other.name: ["to", "run", "unknown"],
        last.name: ["to", "run", "unknown"],
    }
    said = "1 finished, 3 to run: at least 0.1 minutes of one worker; 2 of unknown cost"
    assert said in table and "other datasets" not in table


def test_a_dry_run_estimates_from_other_datasets_and_says_so(tmp_path):
    names, shots = ("shapes", "patterns"), [1, 4]
    one, four, other_one, other_four = cells_in(tmp_path, names=names, shots=shots, seeds=[1])
    finish(one, seconds=59.5)
    table = listing([one, four, other_one, other_four])
    assert costs_in(table)[four.name][-1] == "60.0"
    assert costs_in(table)[other_one.name][-1] == "~60.0"
    finish(four, seconds=119.5)
    table = listing([one, four, other_one, other_four])
    assert costs_in(table)[other_one.name][-1] == "~60.0"
    assert costs_in(table)[other_four.name][-1] == "~120.0"
    assert "2 finished, 2 to run: 3.0 minutes of one worker\n~ is estimated from" in table
    finish(other_one, seconds=9.5)  # of the dataset itself, though with other shots
    table = listing([one, four, other_one, other_four])
    assert costs_in(table)[other_four.name][-1] == "10.0"
    assert "other datasets" not in table


def test_one_lease_at_a_time(tmp_path):
    assert not leases.is_leased(tmp_path)
    with leases.acquire(tmp_path):
        assert leases.is_leased(tmp_path)
        assert leases.acquire(tmp_path) is None
    assert not leases.is_leased(tmp_path)
    assert not list(tmp_path.glob("*.json"))
    with leases.acquire(tmp_path) as again:
        assert again.number == 1


def of_another_machine(place: Path, number: int, age: float) -> Path:
    file = place / f"{number}.json"
    file.write_text(json.dumps({"host": "another", "pid": 1}))
    os.utime(file, (time.time() - age,) * 2)
    return file


def test_a_lease_of_another_machine_is_valid_while_it_is_touched(tmp_path):
    file = of_another_machine(tmp_path, 1, age=leases.EXPIRY / 2)
    assert leases.is_leased(tmp_path) and leases.acquire(tmp_path) is None
    os.utime(file, (time.time() - 2 * leases.EXPIRY,) * 2)
    assert not leases.is_leased(tmp_path)
    with leases.acquire(tmp_path) as mine:
        assert mine.number == 2
    assert not list(tmp_path.glob("*.json"))


def test_a_lease_is_touched_until_it_is_released(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "HEARTBEAT", 0.01)
    with leases.acquire(tmp_path) as mine:
        os.utime(mine.file, (0, 0))
        until = time.monotonic() + 300
        while mine.file.stat().st_mtime == 0:
            assert time.monotonic() < until
            time.sleep(0.01)


def test_of_two_that_take_over_one_comes_first(tmp_path, monkeypatch):
    """Machines whose locks do not reach one another both see an expired lease."""
    of_another_machine(tmp_path, 1, age=2 * leases.EXPIRY)
    seen = leases._numbered(tmp_path)
    monkeypatch.setattr(leases, "HOST", "this")
    with leases.acquire(tmp_path):
        monkeypatch.setattr(leases, "HOST", "that")
        monkeypatch.setattr(leases, "_numbered", lambda place: seen)
        assert leases.acquire(tmp_path) is None
        monkeypatch.undo()


class Silent:
    def __init__(self):
        self.errors = []

    def started(self, cells): ...

    def waiting(self, cells): ...

    def ended(self, cell, error, seconds):
        self.errors.append(error)

    def tick(self): ...


@pytest.fixture
def run(fake_workers):
    """Drive cells through workers that call ``do``; return queue, workers and watcher."""

    def run(cells, do, retries: int = 1, **how):
        queue, workers, watcher = Queue(cells, retries), fake_workers(do, **how), Silent()
        drive(queue, workers, watcher)
        assert workers.closed
        return queue, workers, watcher

    return run


def done(given: dict) -> dict:
    Path(given["folder"]).mkdir(parents=True)
    Path(given["folder"], "results.json").write_text("{}")
    return {"state": worker.DONE}


def test_a_worker_stays_with_its_backbone_and_dataset(run, tmp_path):
    cells = cells_in(tmp_path, configs=[COOP, MAPLE], names=("shapes", "patterns"))
    _, workers, watcher = run(cells, done, count=2)
    datasets = {
        worker: {Path(name).parts[3] for at, name in workers.order if at == worker}
        for worker in (0, 1)
    }
    assert sorted(map(list, datasets.values())) == [["patterns"], ["shapes"]]
    assert watcher.errors == [""] * 8


def test_finished_cells_are_not_handed_out(run, tmp_path):
    first, second = cells_in(tmp_path)
    finish(first)
    _, workers, _ = run([first, second], done)
    assert workers.order == [(0, second.name)]


@pytest.mark.parametrize(("retries", "attempts"), [(0, 1), (2, 3)])
def test_what_dies_is_tried_again_and_then_named(retries, attempts, run, tmp_path):
    first, second = cells_in(tmp_path)

    def work(given):
        if given["folder"] == first.folder:
            raise SystemExit("it died")
        return done(given)

    queue, workers, watcher = run([first, second], work, retries)
    assert [name for _, name in workers.order].count(first.name) == attempts
    assert queue.errors.keys() == {first.folder}
    assert "it died" in queue.errors[first.folder]
    assert second.finished() and len(watcher.errors) == 2


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_a_table_on_a_terminal_and_lines_elsewhere(
    terminal, fake_workers, tmp_path, monkeypatch
):
    cells = cells_in(tmp_path)
    screen = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stdout", screen)

    def work(given):
        if given["folder"] == cells[1].folder:
            return {"state": "refused", "error": "no picture"}
        return done(given)

    queue = Queue(cells, retries=0)
    drive(queue, fake_workers(work), Progress(queue))
    said = screen.getvalue()
    assert said.startswith("2 cells, 0 of them finished already\n")
    assert "All cells: base2new/coop/tiny/shapes/shots_16\n" in said
    assert "[2/2] seed_2: FAILED: no picture\n" in said
    if terminal:
        head, _, row, _ = said.splitlines()[-4:]
        assert head.split()[:4] == ["method", "finished", "running", "failed"]
        assert row.split()[:3] == ["coop/tiny", "1/2", "1"]
        assert said.count("\x1b[4F\x1b[J") > 1  # each table erases the one before
    else:
        assert "[1/2] seed_1: 0.0 s\n" in said and "\x1b" not in said


def test_a_users_mistake_is_not_tried_again(run, tmp_path):
    (cell,) = cells_in(tmp_path, seeds=[1])
    queue, workers, _ = run([cell], lambda given: {"state": worker.REFUSED, "error": "no picture"})
    assert queue.errors == {cell.folder: "no picture"}
    assert len(workers.order) == 1


def test_of_a_batch_whose_worker_died_only_the_first_unfinished_is_charged(run, tmp_path):
    cells = cells_in(tmp_path, seeds=[1, 2, 3])
    deaths = []

    def work(given):
        if given["folder"] == cells[1].folder and len(deaths) < 2:
            deaths.append(given)
            raise SystemExit("out of time")
        return done(given)

    queue, workers, _ = run(cells, work, retries=1, most=3)
    assert queue.errors.keys() == {cells[1].folder}
    assert cells[0].finished() and cells[2].finished()
    assert [name for _, name in workers.order].count(cells[0].name) == 1


def test_targets_wait_for_their_source_and_fall_with_it(run, tmp_path):
    names = ("shapes", "shapes_v2", "patterns")
    cells = cells_in(tmp_path, "cross_dataset", names=names)
    source = cells[0]

    def work(given):
        if given["folder"] == source.folder:
            return {"state": worker.FAILED, "error": "it broke"}
        if given["depends_on"]:
            assert Path(given["depends_on"], "results.json").is_file()
        return done(given)

    queue, workers, _ = run(cells, work, retries=0, count=2)
    assert len(queue.errors) == 3 and "it broke" in queue.errors[source.folder]
    assert all(cell.finished() for cell in cells[3:])


def test_what_another_driver_runs_is_waited_for(run, tmp_path, monkeypatch):
    monkeypatch.setattr("softprompt.core.protocols.driver.POLL", 0.01)
    first, second = cells_in(tmp_path)
    other = leases.acquire(Path(first.leases))
    with other:

        def work(given):
            done(asdict(first))  # by the other driver's worker, while ours runs the second
            return done(given)

        _, workers, _ = run([first, second], work)
    assert workers.order == [(0, second.name)]


def test_a_cell_is_run_under_its_lease_and_its_error_told(tmp_path, monkeypatch):
    (cell,) = cells_in(tmp_path, seeds=[1])

    def fails(cell):
        assert leases.acquire(Path(cell.leases)) is None
        assert cell.configuration().SEED == 1
        raise RuntimeError("first line\nthe last line")

    monkeypatch.setattr(worker, "train_cell", fails)
    found = worker.run_cell(asdict(cell))
    assert found["state"] == worker.FAILED
    assert found["error"].startswith("the last line (see ") and found["seconds"] > 0
    assert "RuntimeError" in Path(cell.leases, worker.ERROR).read_text()

    monkeypatch.setattr(worker, "train_cell", finish)
    assert worker.run_cell(asdict(cell))["state"] == worker.DONE
    assert not Path(cell.leases, worker.ERROR).exists()
    monkeypatch.setattr(worker, "train_cell", fails)
    assert worker.run_cell(asdict(cell))["state"] == worker.DONE  # it is there
    monkeypatch.undo()

    bad = replace(cell, folder=f"{cell.folder}0", pairs=("OPTIM.LT", "1"))
    assert "no option OPTIM.LT" in worker.run_cell(asdict(bad))["error"]


def test_a_folder_that_cannot_hold_the_leases_is_the_cells_error(tmp_path):
    """Its worker once died of it, and nobody learnt why."""
    (tmp_path / "out").write_text("mine")
    (cell,) = cells_in(tmp_path / "out", seeds=[1])
    found = worker.run_cell(asdict(cell))
    assert found["state"] == worker.REFUSED
    assert re.match(r"cannot write .*/out.*: (Not a directory|File exists)", found["error"])


def test_an_error_is_told_though_its_traceback_cannot_be_kept(tmp_path, monkeypatch):
    (cell,) = cells_in(tmp_path, seeds=[1])

    def fails(cell):
        raise RuntimeError("it broke")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(worker, "train_cell", fails)
    monkeypatch.setattr(Path, "write_text", full)
    found = worker.run_cell(asdict(cell))
    assert (found["state"], found["error"]) == (worker.FAILED, "RuntimeError: it broke")


def test_a_cell_that_a_run_has_open_is_waited_for_and_said(tmp_path, monkeypatch, capsys):
    """Somebody resumes it with tools/train.py while a sweep comes to it."""
    first, second = cells_in(tmp_path)
    with sole_writer(Path(first.folder)):
        assert first.used_by() == f"process {os.getpid()} on this machine"
        queue = Queue([first, second], retries=0)
        assert queue.take(None, 5) == [second]

        def opens(cell):
            with sole_writer(Path(cell.folder)):
                raise AssertionError

        monkeypatch.setattr(worker, "train_cell", opens)
        assert worker.run_cell(asdict(first))["state"] == worker.LEASED
        progress = Progress(queue)
        for _ in range(2):
            progress.waiting([first])
    said = capsys.readouterr().out
    line = f"waiting for {first.name}, which process {os.getpid()} on this machine runs\n"
    assert said.count(line) == 1
    assert not first.used_by()


def test_a_preempted_job_is_queued_again_with_its_cells():
    pytest.importorskip("submitit")
    from softprompt.core.protocols.engines.remote import RemoteWorker

    worker = RemoteWorker("code")
    again = worker.checkpoint([{"name": "cell"}], 2)
    assert again.function is worker and again.args == ([{"name": "cell"}], 2)


def test_a_cell_names_what_runs_it(tmp_path, monkeypatch):
    """Any function of a cell, by module and name, of which the sweep knows nothing."""
    (cell,) = cells_in(tmp_path, seeds=[1])
    monkeypatch.setattr(json, "run_my_cell", finish, raising=False)
    mine = replace(cell, runner="json:run_my_cell")
    assert worker.run_cell(asdict(mine))["state"] == worker.DONE
    assert cell.finished()


def test_a_leased_cell_is_left_alone(tmp_path, monkeypatch):
    (cell,) = cells_in(tmp_path, seeds=[1])
    monkeypatch.setattr(worker, "train_cell", None)
    with leases.acquire(Path(cell.leases)):
        assert worker.run_cell(asdict(cell))["state"] == worker.LEASED


def test_a_sweep_of_an_earlier_version_goes_on(tmp_path):
    """Its leases, errors and folders are read: their places and contents have not changed."""
    (cell,) = cells_in(tmp_path, seeds=[1])
    place = tmp_path / ".sweep" / "base2new/coop/tiny/shapes/shots_16/seed_1"
    assert (Path(cell.leases), worker.ERROR) == (place, "error.txt")
    with leases.acquire(place) as lease:
        assert lease.file == place / "1.json"
        assert json.loads(lease.file.read_text()) == {"host": leases.HOST, "pid": os.getpid()}
        assert (place / f"{leases.HOST}.lock").exists()
