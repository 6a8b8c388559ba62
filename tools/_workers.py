"""Jobs in worker processes, of which each runs many: starting one costs seconds."""

import logging
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path


def attempt(work: Callable[[], object], report: Path) -> str:
    """Do a worker's work in one thread; return "" or, in one line, what went wrong.

    Args:
        report: the file that the traceback of what the user cannot mend is written to.
    """
    import torch

    from softprompt.core.errors import UserError
    from softprompt.core.log import logger

    torch.set_num_threads(1)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    report.unlink(missing_ok=True)
    try:
        work()
    except UserError as error:
        return str(error)
    except Exception as error:  # of a plugin, above all: the other runs go on
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(traceback.format_exc())
        last = traceback.format_exception_only(error)[-1].strip().splitlines()[-1]
        return f"{last} (see {report})"
    return ""


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
