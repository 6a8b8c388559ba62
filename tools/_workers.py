"""Jobs in worker processes, of which each runs many."""

import logging
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path


def attempt(work: Callable[[], object], report: Path) -> str:
    """Do a worker's work in one thread; return "" or, in one line, what went wrong.

    Args:
        report: the file that the traceback of what the user cannot mend is written to.
    """
    import torch

    from softprompt.core.base.errors import UserError
    from softprompt.core.base.log import logger

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
    from softprompt.core.protocols.processes import Processes

    processes = Processes(work, [{}] * count)
    waiting = list(jobs)[::-1]
    busy: dict[int, object] = {}
    try:
        while waiting or busy:
            for worker in range(count):
                if waiting and worker not in busy:
                    busy[worker] = waiting.pop()
                    processes.start(worker, busy[worker])
            for worker, outcome in processes.ended():
                yield busy.pop(worker), outcome
    finally:
        processes.close()


def told_outcomes(work: Callable, jobs: list, count: int, name: Callable, line: Callable) -> int:
    """Do ``outcomes``, print a line on each job and return how many failed.

    Args:
        name, line: functions of a job: what it is called, and what came out of it.
    """
    began, failed = time.perf_counter(), 0
    for done, (job, error) in enumerate(outcomes(work, jobs, count), 1):
        left = round((time.perf_counter() - began) / done * (len(jobs) - done) / 60)
        failed += bool(error)
        said = f"[{done}/{len(jobs)}] {name(job)}: " + (f"FAILED: {error}" if error else line(job))
        print(f"{said}; about {left} min left" if left else said, flush=True)
    return failed
