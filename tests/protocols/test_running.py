"""What a sweep says while its cells run: how far they are, and the accuracy so far."""

import json
from pathlib import Path

import pytest

from softprompt.core.protocols import progress
from softprompt.core.protocols.cells import Cell
from softprompt.core.protocols.progress import Progress
from softprompt.core.protocols.queue import Queue
from softprompt.core.protocols.running import progress_of, short_names

TAG = ",OPTIM.MAX_EPOCH=2,DATALOADER.TRAIN_X.BATCH_SIZE=8"


def cells_in(output: Path, *places: str) -> list[Cell]:
    return [
        Cell.below(
            output,
            place,
            name=place,
            method="/".join(place.split("/")[1:3]),
            group=(),
            config_file="c.yaml",
            flags={},
        )
        for place in places
    ]


def begin(cell: Cell, epoch: int) -> None:
    folder = Path(cell.folder)
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("OPTIM:\n  MAX_EPOCH: 50\n")
    lines = [json.dumps({"step": step, "epoch": step // 2}) for step in range(2 * epoch)]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + '\n{"step": 9')


def finish(cell: Cell, base: float) -> None:
    Path(cell.folder).mkdir(parents=True)
    found = {"results": {"a": {"base": {"accuracy": base}, "new": {"accuracy": 50.0}}}}
    Path(cell.folder, "results.json").write_text(json.dumps(found))


@pytest.fixture
def cells(tmp_path):
    places = (
        f"base2new/{m}/tiny{TAG}/dtd/shots_16/seed_{s}" for m in ("coop", "a") for s in (1, 2)
    )
    return cells_in(tmp_path, *places)


def test_how_far_a_run_is(cells, tmp_path):
    begin(cells[0], 3)
    assert progress_of(Path(cells[0].folder)) == "epoch 3/50"
    (tmp_path / "metrics.jsonl").write_text('{"step": 6}\n')
    assert progress_of(tmp_path) == "step 7"
    for damaged in ("", "\n", "[]\n", "no json\n", "\xff"):
        (tmp_path / "metrics.jsonl").write_text(damaged)
        assert progress_of(tmp_path) == ""
    assert progress_of(tmp_path / "nowhere") == ""


def test_names_leave_out_what_all_cells_share(cells, tmp_path):
    names, lines = short_names(cells)
    assert [names[cell.folder] for cell in cells] == [
        *("coop/seed_1", "coop/seed_2", "a/seed_1", "a/seed_2")
    ]
    assert lines == [
        "All cells: base2new/dtd/shots_16",
        "All methods: configs/*/tiny.yaml with OPTIM.MAX_EPOCH 2 DATALOADER.TRAIN_X.BATCH_SIZE 8",
    ]
    one, lines = short_names(cells[:1])
    assert one[cells[0].folder] == "base2new/coop/tiny/dtd/shots_16/seed_1"
    (matrix,) = cells_in(tmp_path, "ivlp under erm, seed 1")
    assert short_names([matrix])[0][matrix.folder] == "ivlp under erm, seed 1"


def test_lines_of_a_sweep_fit_a_terminal(cells, monkeypatch, capsys):
    monkeypatch.setattr(progress, "STATUS", -1.0)
    queue = Queue(cells, retries=0)
    watcher = Progress(queue, lambda cell: "base 75.2, new 50.0")
    first, second, *_ = queue.take(None, 2)
    finish(first, 70.0)
    queue.record_outcome([first], [{"state": "done"}])
    watcher.ended(first, "", 12.34)
    begin(second, 3)
    watcher.tick()
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80
    assert said.splitlines()[-3:] == [
        "[1/4] coop/seed_1: base 75.2, new 50.0, 12 s",
        "  coop/seed_2: epoch 3/50",
        "  coop so far: base 70.0, new 50.0",
    ]


def test_the_live_table_shows_them_too(cells, monkeypatch, capsys):
    queue = Queue(cells, retries=0)
    watcher = Progress(queue)
    watcher.live = True
    first, second = queue.take(None, 2)
    finish(first, 70.0)
    queue.record_outcome([first], [{"state": "done"}])
    watcher.ended(first, "", 1.0)
    begin(second, 3)
    watcher.tick()
    row = capsys.readouterr().out.splitlines()[-3]
    assert row.split("  ")[0] == "coop" and "1, epoch 3/50" in row
    assert row.endswith("base 70.0, new 50.0")
