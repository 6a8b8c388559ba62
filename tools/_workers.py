"""Jobs in worker processes, of which each runs many: starting one costs seconds."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait


def outcomes(work: Callable, jobs: Iterable, count: int) -> Iterator[tuple[object, str]]:
    """Yield each job with what ``work(job)`` returned, as they end, run by ``count`` processes.

    ``work`` returns "" or one line that tells what went wrong; where its process dies, the line
    tells that, and a new process takes its place. When the caller stops or dies, so do they.
    """
    context = multiprocessing.get_context("spawn")
    waiting = list(jobs)[::-1]
    idle: list[tuple[Connection, multiprocessing.Process]] = []
    busy: dict[Connection, tuple[multiprocessing.Process, object]] = {}
    try:
        while waiting or busy:
            while waiting and len(busy) < count:
                connection, process = idle.pop() if idle else _start(context, work)
                job = waiting.pop()
                connection.send(job)
                busy[connection] = process, job
            for connection in wait(list(busy)):
                process, job = busy.pop(connection)
                try:
                    outcome = connection.recv()
                    idle.append((connection, process))
                except EOFError:
                    process.join()
                    outcome = f"its process died with exit status {process.exitcode}"
                yield job, outcome
    finally:
        for connection, _ in idle:
            connection.close()  # nothing more can come, so it ends
        for process, _ in busy.values():
            process.terminate()
        for process in [p for _, p in idle] + [p for p, _ in busy.values()]:
            process.join()


def _start(context, work: Callable) -> tuple[Connection, multiprocessing.Process]:
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(work, theirs), daemon=True)
    process.start()
    theirs.close()  # so that its death ends ours
    return ours, process


def _serve(work: Callable, connection: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is asked, and stops us
    threading.Thread(target=_die_with_parent, daemon=True).start()
    sys.stdout = sys.stderr = open(os.devnull, "w")  # the parent alone speaks
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        connection.send(work(job))


def _die_with_parent() -> None:
    wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
