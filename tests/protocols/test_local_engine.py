"""Worker processes of this machine: one that dies, and their end."""

import multiprocessing
import os
import pickle
import time

import pytest

from softprompt.core.protocols.engines import local
from softprompt.core.protocols.engines.local import LocalWorkers, Processes


def test_a_worker_that_dies_takes_only_its_own_job_along():
    processes = Processes(os.system, [{}] * 2)
    ended = []
    processes.start(0, "true")
    processes.start(1, "kill -9 $PPID")
    while len(ended) < 2:
        ended += processes.ended()
    assert sorted(ended) == [(0, 0), (1, "its process died with exit status -9")]
    processes.start(1, "true")  # by a new process
    assert processes.ended() == [(1, 0)]
    assert processes.ended(timeout=0) == []
    processes.close()
    assert not multiprocessing.active_children()


def test_busy_workers_end_with_their_caller():
    processes = Processes(time.sleep, [{}] * 2)
    processes.start(0, 0)
    processes.start(1, 3600)
    assert processes.ended() == [(0, None)]
    start = time.monotonic()
    processes.close()
    assert not multiprocessing.active_children()
    assert time.monotonic() - start < 600


def test_workers_share_the_gpus_that_this_process_sees(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert [each["CUDA_VISIBLE_DEVICES"] for each in LocalWorkers().environments] == [*"35"]
    assert [each["CUDA_VISIBLE_DEVICES"] for each in LocalWorkers(3).environments] == [*"353"]
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert LocalWorkers(3, threads=1).environments == [{"OMP_NUM_THREADS": "1"}] * 3


@pytest.mark.parametrize(
    ("asked", "jobs", "threads", "count", "each"),
    [
        ("", 0, 0, 8, 1),
        ("", 2, 0, 2, 4),
        ("2", 0, 0, 4, 2),
        ("2", 3, 0, 3, 2),
        ("3,1", 0, 0, 2, 3),
        ("2", 3, 1, 3, 1),  # --threads is more explicit
        ("many", 1, 0, 1, 8),
        ("16", 0, 0, 1, 16),
    ],
)
def test_threads_are_those_asked_for(asked, jobs, threads, count, each, monkeypatch):
    monkeypatch.setattr(local, "core_count", lambda: 8)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    workers = LocalWorkers(jobs, threads)
    assert workers.count == count
    assert workers.environments == [{"OMP_NUM_THREADS": str(each)}] * count
    assert f"'threads': {each}" in str(pickle.loads(workers.work).keywords)
