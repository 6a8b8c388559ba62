"""The engine of a Slurm cluster, through submitit: each job runs several cells of one group."""

import time
from collections.abc import Sequence
from math import ceil
from pathlib import Path

import cloudpickle
import submitit

from softprompt.core.base.errors import UserError
from softprompt.core.protocols.engines import remote
from softprompt.core.protocols.worker import threads_asked

ROUNDS = 4  # jobs of each worker in a sweep, so that the others do not wait long for the last one
MINUTES = 24 * 60  # time limit of a job, unless timeout_min is set
POLL = 0.5  # seconds between two looks at the jobs


class SlurmWorkers:
    """Up to ``count`` jobs at a time; the cells that a job leaves unfinished are queued again."""

    def __init__(self, jobs: int, options: Sequence[str], folder: Path, cells: int):
        """Set up submitit.

        Args:
            jobs: how many at a time.
            options: ``KEY=VALUE`` for submitit; ``cluster=local`` runs jobs as processes here.
            folder: where submitit keeps its files, on a file system that all machines share.
            cells: how many there are to run in all.

        Raises:
            UserError: there is no Slurm, or submitit does not know a key.
        """
        parameters = dict(_parsed(option) for option in options)
        cluster = str(parameters.pop("cluster", "slurm"))
        cloudpickle.register_pickle_by_value(remote)
        try:
            self.executor = submitit.AutoExecutor(folder, cluster=cluster)
            self.executor.update_parameters(**{"timeout_min": MINUTES, **parameters})
        except (RuntimeError, ValueError, NameError, TypeError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"submitit cannot use {cluster} with {parameters}: {reason}") from None
        self.count = jobs
        self.most = ceil(cells / (ROUNDS * jobs))
        self.worker = remote.RemoteWorker(remote.code_folder())
        self.threads = threads_asked() or int(parameters.get("cpus_per_task", 1))
        self.busy: dict[int, submitit.Job] = {}

    def start(self, worker: int, cells: list[dict]) -> None:
        self.busy[worker] = self.executor.submit(self.worker, cells, self.threads)

    def ended(self, timeout: float) -> list[tuple[int, list[dict] | str]]:
        until = time.monotonic() + timeout
        while not (ended := [w for w, job in self.busy.items() if job.done()]):
            if time.monotonic() > until:
                return []
            time.sleep(POLL)
        return [(worker, _outcome(self.busy.pop(worker))) for worker in ended]

    def close(self) -> None:
        for job in self.busy.values():
            job.cancel()


def _parsed(option: str) -> tuple[str, int | str]:
    key, _, value = option.partition("=")
    return key, int(value) if value.isdigit() else value


def _outcome(job: submitit.Job) -> list[dict] | str:
    try:
        return job.result()
    except Exception as error:  # submitit's, or of unpickling the result
        lines = str(error).strip().splitlines()
        return f"its job {job.job_id} ended early: {lines[-1] if lines else type(error).__name__}"
