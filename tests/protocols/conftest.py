"""Workers that run cells at once in the test's own process."""

import json
from pathlib import Path

import pytest

from softprompt.core.protocols import worker
from softprompt.core.protocols.engines.engine import Engine


class FakeWorkers:
    """Workers that run ``work(cell)`` at once, in this process; SystemExit is their death."""

    def __init__(self, work, count: int = 1, most: int = 1):
        self.work, self.count, self.most = work, count, most
        self.given, self.closed = {}, False
        self.order = []

    def start(self, worker, cells):
        self.given[worker] = cells
        self.order += [(worker, cell["name"]) for cell in cells]

    def ended(self, timeout):
        given, self.given = self.given, {}
        return [(worker, self._outcome(cells)) for worker, cells in given.items()]

    def _outcome(self, cells):
        try:
            return [self.work(cell) for cell in cells]
        except SystemExit as error:
            return str(error)

    def close(self):
        self.closed = True


@pytest.fixture
def fake_workers():
    return FakeWorkers


@pytest.fixture
def in_process(monkeypatch):
    """Replace the workers of every engine; return what ran them."""

    def in_process(work=worker.run_cell) -> FakeWorkers:
        workers = FakeWorkers(work)
        monkeypatch.setattr(Engine, "workers", lambda engine, folder, cells: workers)
        return workers

    return in_process


@pytest.fixture
def finish():
    """Write the results of a cell, given by its fields, as if it had run."""

    def finish(fields: dict, results: dict | None = None) -> dict:
        folder = Path(fields["folder"])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "results.json").write_text(json.dumps(results or {}))
        return {"state": worker.DONE}

    return finish
