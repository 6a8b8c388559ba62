"""The engine of one machine: worker processes, one a GPU or one a share of the cores."""

import os
from functools import partial

from softprompt.core.protocols.processes import Processes
from softprompt.core.protocols.work import run_cells


class LocalWorkers(Processes):
    """Processes that take one cell after another."""

    most = 1

    def __init__(self, jobs: int = 0):
        """Plan them.

        Args:
            jobs: how many; 0: one a GPU, without a GPU one a core.
        """
        import torch

        gpus = _gpus(torch.cuda.device_count())
        self.count = jobs or len(gpus) or cores()
        turns = [gpus[worker % len(gpus)] for worker in range(self.count)] if gpus else []
        super().__init__(
            partial(run_cells, threads=max(1, cores() // self.count)),
            [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in turns] or [{}] * self.count,
        )


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _gpus(count: int) -> list[str]:
    """What CUDA_VISIBLE_DEVICES calls each GPU that this process sees."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return visible.split(",")[:count] if visible else [str(gpu) for gpu in range(count)]
