"""The engine of one machine: worker processes, one a GPU or one a share of the cores."""

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from softprompt.core.base.signals import ending_in_order
from softprompt.core.protocols.worker import run_cells, threads_asked

GRACE = 30.0  # seconds in which a process that is to stop may finish its step


class Processes:
    """Processes that run ``work(job)`` for one job after another, and end when this one does.

    Each does many jobs, because starting one takes seconds. Their standard output is dropped: only
    the process that started them prints.
    """

    def __init__(self, work: Callable, environments: list[dict[str, str]]):
        """Prepare the processes; each is started with its first job.

        Args:
            work: a function of a module, or a partial of one.
            environments: the additional environment variables of each process.
        """
        # Unpickling may import for seconds, so a process does it only once it watches this one.
        self.work = pickle.dumps(work)
        self.environments = environments
        self.context = multiprocessing.get_context("spawn")
        self.alive: dict[int, tuple[Any, SpawnProcess]] = {}  # pipe, process
        self.busy: set[int] = set()

    def start(self, worker: int, job: object) -> None:
        """Give a process, counted from 0, a job; one that has died is replaced."""
        if worker not in self.alive:
            ours, theirs = self.context.Pipe()
            process = self.context.Process(
                target=_serve, args=(self.work, theirs, self.environments[worker])
            )
            with _without_interrupts():
                process.start()
            theirs.close()  # so that the pipe ends when the process dies
            self.alive[worker] = ours, process
        self.busy.add(worker)
        try:
            self.alive[worker][0].send(job)
        except OSError:  # it has died since its last job, which ended() will report
            pass

    def ended(self, timeout: float | None = None) -> list[tuple[int, Any]]:
        """Return the processes that have ended, each with what ``work`` returned or how it died.

        Args:
            timeout: seconds to wait for the first one; None: without limit.
        """
        by_connection: dict[Any, int] = {self.alive[worker][0]: worker for worker in self.busy}
        ended: list[tuple[int, Any]] = []
        for connection in wait(list(by_connection), timeout):
            worker = by_connection[connection]
            self.busy.remove(worker)
            try:
                ended.append((worker, self.alive[worker][0].recv()))
            except (EOFError, ConnectionError):
                _, process = self.alive.pop(worker)
                process.join()
                ended.append((worker, f"its process died with exit status {process.exitcode}"))
        return ended

    def close(self) -> None:
        """Stop all processes, busy or not; a busy one has some time to save its step."""
        for worker, (connection, process) in self.alive.items():
            if worker in self.busy:
                process.terminate()
            connection.close()  # an idle process ends at the end of its pipe
        end = time.monotonic() + GRACE
        for _, process in self.alive.values():
            process.join(max(0.0, end - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()


class LocalWorkers(Processes):
    """Processes that run one cell after another."""

    most = 1

    def __init__(self, jobs: int = 0, threads: int = 0):
        """Prepare the processes.

        Args:
            jobs: how many; 0: one a GPU, without a GPU as many as the cores have room for.
            threads: of each process; 0: OMP_NUM_THREADS or, if that is not set, its share of the
                cores.
        """
        import torch

        gpus = _visible_gpus(torch.cuda.device_count())
        threads = threads or threads_asked()
        self.count = jobs or len(gpus) or max(1, core_count() // (threads or 1))
        threads = threads or max(1, core_count() // self.count)
        environments = [{"OMP_NUM_THREADS": str(threads)} for _ in range(self.count)]
        for worker, environment in enumerate(environments if gpus else ()):
            environment["CUDA_VISIBLE_DEVICES"] = gpus[worker % len(gpus)]
        super().__init__(partial(run_cells, threads=threads), environments)


def core_count() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _visible_gpus(count: int) -> list[str]:
    """Return the name of each GPU of this process, as CUDA_VISIBLE_DEVICES has it."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return visible.split(",")[:count] if visible else [str(gpu) for gpu in range(count)]


def _serve(pickled: bytes, connection: Connection, environment: dict[str, str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which stops us
    threading.Thread(target=_die_with_parent, daemon=True).start()
    os.environ.update(environment)
    sys.stdout = sys.stderr = open(os.devnull, "w")
    work = pickle.loads(pickled)
    with ending_in_order():  # killed outright, it would leave semaphores behind
        while True:
            try:
                job = connection.recv()
            except EOFError:
                return
            connection.send(work(job))


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Start a process that never sees Ctrl-C, not even before it can say so itself."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
    os._exit(1)
