"""The engine of a Ray cluster: actors that keep what they have loaded from cell to cell."""

import logging
import os
from pathlib import Path

import ray
from ray import cloudpickle
from ray.exceptions import RayActorError, RayError

import softprompt.core
from softprompt.core.base.errors import UserError
from softprompt.core.protocols import elsewhere
from softprompt.core.protocols.local import cores

OBJECTS = 100 * 2**20  # bytes of the object store of a cluster of our own: cells are small


class RayWorkers:
    """Actors with a GPU each or, on a cluster without any, with a core each."""

    most = 1

    def __init__(self, jobs: int = 0, address: str = ""):
        """Join the cluster, or start one on this machine.

        Args:
            jobs: how many at most; 0: as many as the cluster has room for.
            address: of a running cluster, or "auto"; "": there is none.

        Raises:
            UserError: no cluster answers, or it has no room.
        """
        _connect(jobs, address)
        cloudpickle.register_pickle_by_value(elsewhere)
        room = ray.cluster_resources()
        gpus = int(room.get("GPU", 0))
        most = gpus or int(room.get("CPU", 0))
        if not most:
            raise UserError("the Ray cluster has neither a GPU nor a CPU for a worker")
        self.count = min(jobs or most, most)
        self.actor = ray.remote(elsewhere.RemoteWorker).options(
            num_cpus=1, num_gpus=1 if gpus else 0
        )
        self.code = str(Path(softprompt.core.__file__).resolve().parents[1])
        self.alive: dict[int, object] = {}
        self.busy: dict[object, int] = {}

    def start(self, worker: int, cells: list[dict]) -> None:
        if worker not in self.alive:
            self.alive[worker] = self.actor.remote(self.code)
        self.busy[self.alive[worker].run.remote(cells, 1)] = worker

    def ended(self, timeout: float) -> list[tuple[int, list[dict] | str]]:
        ready, _ = ray.wait(list(self.busy), timeout=timeout)
        found = []
        for reference in ready:
            worker = self.busy.pop(reference)
            try:
                found.append((worker, ray.get(reference)))
            except RayError as error:
                ray.kill(self.alive.pop(worker))
                found.append((worker, _death(error)))
        return found

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
            num_cpus=jobs or cores(),
            include_dashboard=False,
            object_store_memory=OBJECTS,
            **quiet,
        )
        return
    try:
        ray.init(address, **quiet)
    except (ConnectionError, ValueError) as error:
        said = str(error).strip().splitlines()[0]
        raise UserError(f"no Ray cluster at --address {address}: {said}") from None


def _death(error: RayError) -> str:
    """Ray's reasons take many lines; the one that a worker died is all that is known mostly."""
    if isinstance(error, RayActorError):
        return "its worker process died"
    return f"its worker did not begin: {str(error).strip().splitlines()[-1]}"
