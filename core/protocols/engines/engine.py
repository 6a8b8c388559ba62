"""An engine: which one runs the cells, with how many workers, and whether it can."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from softprompt.core.base.errors import UserError

PACKAGES = {"ray": "ray", "slurm": "submitit"}


class Workers(Protocol):
    """A fixed number of workers, each of which is given some cells at a time."""

    count: int
    most: int  # cells that a worker is given at once

    def start(self, worker: int, cells: list[dict], /) -> None:
        """Let a worker, counted from 0, run cells; a dead one is replaced first."""

    def ended(self, timeout: float) -> list[tuple[int, list[dict] | str]]:
        """Return the workers that have ended, each with its cells' outcomes or how it died.

        The list is empty if none ends within ``timeout`` seconds.
        """
        ...

    def close(self) -> None:
        """Stop all workers, busy or not."""


@dataclass(frozen=True)
class Engine:
    """The choice of an engine, as the command line states it."""

    name: str = "local"  # or ray, slurm
    jobs: int = 0  # workers; 0: as many as there is room for
    threads: int = 0  # of each local worker; 0: OMP_NUM_THREADS, or else its share of the cores
    address: str = ""  # of a running Ray cluster; "": one is started on this machine
    options: tuple[str, ...] = ()  # KEY=VALUE for submitit, such as slurm_partition=gpu

    def check(self, fewest_jobs: int = 0) -> None:
        """Check the choice without planning anything or importing torch.

        Raises:
            UserError: the engine is not installed, or does not take what it is given.
        """
        for name, value, least in (
            ("jobs", self.jobs, fewest_jobs),
            ("threads", self.threads, 0),
        ):
            if value < least:
                raise UserError(f"--{name} is {value}, but must be at least {least}")
        package = PACKAGES.get(self.name)
        if package and find_spec(package) is None:
            raise UserError(f'--engine {self.name} needs {package}: pip install ".[{self.name}]"')
        if self.address and self.name != "ray":
            raise UserError(
                f"--address {self.address} is of a Ray cluster, but the engine is {self.name}: "
                "give --engine ray, or leave --address out"
            )
        if self.options and self.name != "slurm":
            raise UserError(
                f"--slurm {' '.join(self.options)} is for Slurm, but the engine is {self.name}: "
                "give --engine slurm, or leave --slurm out"
            )
        if self.threads and self.name != "local":
            raise UserError(
                f"--threads {self.threads} is for workers of this machine, but the engine is "
                f"{self.name}: give --engine local, or leave --threads out"
            )
        if self.name == "slurm" and not self.jobs:
            raise UserError("--engine slurm needs --jobs N, how many Slurm jobs run at a time")
        for option in self.options:
            if "=" not in option:
                raise UserError(
                    f"--slurm takes KEY=VALUE such as slurm_partition=gpu, not {option!r}"
                )

    def workers(self, folder: Path, cells: int) -> Workers:
        """Return the workers of a choice that ``check`` accepts.

        Args:
            folder: where the engine may keep files.
            cells: how many there are to run.

        Raises:
            UserError: the engine cannot be used as asked.
        """
        if self.name == "ray":
            from softprompt.core.protocols.engines.ray import RayWorkers

            return RayWorkers(self.jobs, self.address)
        if self.name == "slurm":
            from softprompt.core.protocols.engines.slurm import SlurmWorkers

            return SlurmWorkers(self.jobs, self.options, folder, cells)
        from softprompt.core.protocols.engines.local import LocalWorkers

        return LocalWorkers(self.jobs, self.threads)
