"""Worker processes, of which each does many jobs: starting one costs seconds."""

import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection, wait


class Processes:
    """Processes that run ``work(job)`` for one job after another, and end as this one ends or dies.

    Only the one that started them speaks: what they print is dropped.
    """

    def __init__(self, work: Callable, environments: list[dict[str, str]]):
        """Plan them; each is started with its first job.

        Args:
            work: a function of a module, or a partial of one.
            environments: for each process, the environment variables that it is given.
        """
        # A new process reads it only once it watches this one: reading it may import for seconds.
        self.work = pickle.dumps(work)
        self.environments = environments
        self.context = multiprocessing.get_context("spawn")
        self.alive: dict[int, tuple[Connection, multiprocessing.Process]] = {}
        self.busy: set[int] = set()

    def start(self, worker: int, job: object) -> None:
        """Give a process, counted from 0, a job; one that has died is replaced."""
        if worker not in self.alive:
            ours, theirs = self.context.Pipe()
            process = self.context.Process(
                target=_serve, args=(self.work, theirs, self.environments[worker])
            )
            process.start()
            theirs.close()  # so that its death ends ours
            self.alive[worker] = ours, process
        self.busy.add(worker)
        try:
            self.alive[worker][0].send(job)
        except OSError:  # it has died since its last job; ended() will say so
            pass

    def ended(self, timeout: float | None = None) -> list[tuple[int, object]]:
        """Return each process that is done with what ``work`` returned, or a line on its death.

        Args:
            timeout: seconds to wait for the first one; None: as long as it takes.
        """
        by_connection = {self.alive[worker][0]: worker for worker in self.busy}
        found = []
        for connection in wait(list(by_connection), timeout):
            worker = by_connection[connection]
            self.busy.remove(worker)
            try:
                found.append((worker, connection.recv()))
            except (EOFError, ConnectionError):
                _, process = self.alive.pop(worker)
                process.join()
                found.append((worker, f"its process died with exit status {process.exitcode}"))
        return found

    def close(self) -> None:
        """End all processes, at work or not."""
        for worker, (connection, process) in self.alive.items():
            if worker in self.busy:
                process.terminate()
            connection.close()  # nothing more can come, so it ends
        for _, process in self.alive.values():
            process.join()


def _serve(pickled: bytes, connection: Connection, environment: dict[str, str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is asked, and stops us
    threading.Thread(target=_die_with_parent, daemon=True).start()
    os.environ.update(environment)
    sys.stdout = sys.stderr = open(os.devnull, "w")
    work = pickle.loads(pickled)
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        connection.send(work(job))


def _die_with_parent() -> None:
    wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
