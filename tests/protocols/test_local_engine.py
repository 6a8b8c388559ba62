"""Worker processes of this machine: one that dies, and their end."""

import multiprocessing
import os
import time

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
    assert LocalWorkers().environments == [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in "35"]
    assert [each["CUDA_VISIBLE_DEVICES"] for each in LocalWorkers(3).environments] == [*"353"]
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert LocalWorkers(3, threads=1).environments == [{}] * 3
