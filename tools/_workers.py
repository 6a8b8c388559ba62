"""Jobs in worker processes, of which each runs many."""

from collections.abc import Callable, Iterable, Iterator


def outcomes(work: Callable, jobs: Iterable, count: int) -> Iterator[tuple[object, str]]:
    """Yield each job with what ``work(job)`` returned, as they end, run by ``count`` processes.

    ``work`` returns "" or one line that tells what went wrong; where its process dies, the line
    tells that, and a new process takes its place. When the caller stops or dies, so do they.
    """
    from softprompt.core.sweep.processes import Processes

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
