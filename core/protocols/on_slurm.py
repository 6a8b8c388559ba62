"""The engine of a Slurm cluster, through submitit: each job runs several cells of one group."""

import time
from math import ceil
from pathlib import Path

import cloudpickle
import submitit

import softprompt.core
from softprompt.core.base.errors import UserError
from softprompt.core.protocols import elsewhere

ROUNDS = 4  # jobs that a worker is given in a sweep, so that none waits long for the last one
MINUTES = 24 * 60  # of a job, unless timeout_min says otherwise
POLL = 0.5  # seconds


class SlurmWorkers:
    """Up to ``count`` jobs at a time; one that died, or ran out of time, leaves its rest."""

    def __init__(self, jobs: int, options: list[str], folder: Path, cells: int):
        """Set up submitit.

        Args:
            jobs: how many at a time.
            options: ``KEY=VALUE`` for submitit; ``cluster=local`` takes processes for jobs.
            folder: where submitit keeps its files, seen by all machines.
            cells: how many there are to run in all.

        Raises:
            UserError: there is no Slurm, or submitit does not know a key.
        """
        parameters = dict(_parsed(option) for option in options)
        cluster = parameters.pop("cluster", "slurm")
        cloudpickle.register_pickle_by_value(elsewhere)
        try:
            self.executor = submitit.AutoExecutor(folder, cluster=cluster)
            self.executor.update_parameters(**{"timeout_min": MINUTES, **parameters})
        except (RuntimeError, ValueError, NameError, TypeError) as error:
            said = " ".join(str(error).split())
            raise UserError(f"submitit cannot use {cluster} with {parameters}: {said}") from None
        self.count = jobs
        self.most = ceil(cells / (ROUNDS * jobs))
        self.worker = elsewhere.RemoteWorker(
            str(Path(softprompt.core.__file__).resolve().parents[1])
        )
        self.threads = int(parameters.get("cpus_per_task", 1))
        self.busy: dict[int, submitit.Job] = {}

    def start(self, worker: int, cells: list[dict]) -> None:
        self.busy[worker] = self.executor.submit(self.worker.run, cells, self.threads)

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
    except Exception as error:  # submitit's, and what reading the job's answer may raise
        said = str(error).strip().splitlines()
        return f"its job {job.job_id} ended early: {said[-1] if said else type(error).__name__}"
