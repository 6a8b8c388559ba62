"""The engine of a Ray cluster: actors that reuse what they have loaded from cell to cell."""

import logging
import os
from typing import Any

import ray
from ray import cloudpickle
from ray.exceptions import RayActorError, RayError

from softprompt.core.base.errors import UserError
from softprompt.core.protocols.engines import remote
from softprompt.core.protocols.engines.local import core_count
from softprompt.core.protocols.worker import threads_asked

OBJECT_STORE = 100 * 2**20  # bytes, in a cluster of our own: cells are small


class RayWorkers:
    """Actors with a GPU each or, on a cluster without any, with a core a thread."""

    most = 1

    def __init__(self, jobs: int = 0, address: str = ""):
        """Join the cluster, or start one on this machine.

        Args:
            jobs: how many at most; 0: as many as the cluster has room for.
            address: of a running cluster, or "auto"; "": start one.

        Raises:
            UserError: no cluster answers, or it has no room.
        """
        _connect(jobs, address)
        cloudpickle.register_pickle_by_value(remote)
        room = ray.cluster_resources()
        gpus = int(room.get("GPU", 0))
        self.threads = threads_asked() or 1
        most = gpus or int(room.get("CPU", 0)) // self.threads
        if not most:
            raise UserError(
                f"the Ray cluster has neither a GPU nor {self.threads} CPU(s) for a worker"
            )
        self.count = min(jobs or most, most)
        self.actor = ray.remote(remote.RemoteWorker).options(
            num_cpus=self.threads, num_gpus=1 if gpus else 0
        )
        self.alive: dict[int, Any] = {}  # actors
        self.busy: dict[Any, int] = {}  # worker by the reference to its result

    def start(self, worker: int, cells: list[dict]) -> None:
        if worker not in self.alive:
            self.alive[worker] = self.actor.remote(remote.code_folder())
        self.busy[self.alive[worker].run.remote(cells, self.threads)] = worker

    def ended(self, timeout: float) -> list[tuple[int, list[dict] | str]]:
        ready, _ = ray.wait(list(self.busy), timeout=timeout)
        ended: list[tuple[int, list[dict] | str]] = []
        for reference in ready:
            worker = self.busy.pop(reference)
            try:
                ended.append((worker, ray.get(reference)))
            except RayError as error:
                ray.kill(self.alive.pop(worker))
                ended.append((worker, _death(error)))
        return ended

    def close(self) -> None:
        for actor in self.alive.values():
            ray.kill(actor)
        ray.shutdown()


def _connect(jobs: int, address: str) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if not address:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(
            "local",
            num_cpus=jobs * (threads_asked() or 1) or core_count(),
            include_dashboard=False,
            object_store_memory=OBJECT_STORE,
            **quiet,
        )
        return
    try:
        ray.init(address, **quiet)
    except (ConnectionError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"no Ray cluster at --address {address}: {reason}") from None


def _death(error: RayError) -> str:
    """Return how a worker died, in one line; Ray's own text takes many and mostly knows no more."""
    if isinstance(error, RayActorError):
        return "its worker process died"
    return f"its worker did not start: {str(error).strip().splitlines()[-1]}"
