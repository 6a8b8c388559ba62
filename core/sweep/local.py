"""The engine of one machine: worker processes, one a GPU or one a share of the cores."""

import multiprocessing
import os
import signal
import sys
import threading
from multiprocessing.connection import Connection, wait

from softprompt.core.sweep.work import run_cells


class LocalWorkers:
    """Processes that take one cell after another; they end when the driver ends or dies."""

    most = 1

    def __init__(self, jobs: int = 0):
        """Plan the workers; each is started with its first cell.

        Args:
            jobs: how many; 0: one a GPU, without a GPU one a core.
        """
        import torch

        gpus = _gpus(torch.cuda.device_count())
        self.count = jobs or len(gpus) or cores()
        self.gpus = [gpus[worker % len(gpus)] if gpus else "" for worker in range(self.count)]
        self.threads = max(1, cores() // self.count)
        self.context = multiprocessing.get_context("spawn")
        self.alive: dict[int, tuple[Connection, multiprocessing.Process]] = {}
        self.busy: set[int] = set()

    def start(self, worker: int, cells: list[dict]) -> None:
        if worker not in self.alive:
            ours, theirs = self.context.Pipe()
            process = self.context.Process(
                target=_serve, args=(theirs, self.threads, self.gpus[worker]), daemon=False
            )
            process.start()
            theirs.close()  # so that its death ends ours
            self.alive[worker] = ours, process
        self.busy.add(worker)
        try:
            self.alive[worker][0].send(cells)
        except OSError:  # it died since its last cell; ended() will say so
            pass

    def ended(self, timeout: float) -> list[tuple[int, list[dict] | str]]:
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
                found.append((worker, _death(process.exitcode)))
        return found

    def close(self) -> None:
        for worker, (connection, process) in self.alive.items():
            if worker in self.busy:
                process.terminate()
            connection.close()  # nothing more can come, so it ends
        for _, process in self.alive.values():
            process.join()


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _gpus(count: int) -> list[str]:
    """What CUDA_VISIBLE_DEVICES calls each GPU that this process sees."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return visible.split(",")[:count] if visible else [str(gpu) for gpu in range(count)]


def _death(status: int) -> str:
    how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
    return f"its worker process died ({how})"


def _serve(connection: Connection, threads: int, gpu: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver is asked, and stops us
    threading.Thread(target=_die_with_parent, daemon=True).start()
    if gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    sys.stdout = sys.stderr = open(os.devnull, "w")
    while True:
        try:
            cells = connection.recv()
        except EOFError:
            return
        connection.send(run_cells(cells, threads))


def _die_with_parent() -> None:
    wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
