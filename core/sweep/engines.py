"""The engines by name, and what to install where one is missing."""

from importlib.util import find_spec
from pathlib import Path

from softprompt.core.errors import UserError
from softprompt.core.sweep.drive import Workers

PACKAGES = {"ray": "ray", "slurm": "submitit"}


def workers_of(
    engine: str, jobs: int, *, address: str, options: list[str], folder: Path, cells: int
) -> Workers:
    """Return the workers of an engine: local, ray or slurm.

    Args:
        jobs: how many; 0: what the engine has room for.
        address: of a running Ray cluster; "": one is started on this machine.
        options: ``KEY=VALUE`` for submitit, such as ``slurm_partition=gpu``.
        folder: where the engine may keep files.
        cells: how many there are to run.

    Raises:
        UserError: the engine is not installed, or cannot be used as asked.
    """
    package = PACKAGES.get(engine)
    if package and find_spec(package) is None:
        raise UserError(f'--engine {engine} needs {package}: pip install ".[{engine}]"')
    if engine == "ray":
        from softprompt.core.sweep.on_ray import RayWorkers

        return RayWorkers(jobs, address)
    if engine == "slurm":
        from softprompt.core.sweep.on_slurm import SlurmWorkers

        return SlurmWorkers(jobs, options, folder, cells)
    from softprompt.core.sweep.local import LocalWorkers

    return LocalWorkers(jobs)
