"""The engines by name."""

from pathlib import Path

from softprompt.core.protocols.drive import Workers


def workers_of(
    engine: str, jobs: int, *, address: str, options: list[str], folder: Path, cells: int
) -> Workers:
    """Return the workers of an engine, as ``check_engine`` lets them pass: local, ray or slurm.

    Args:
        jobs: how many; 0: what the engine has room for.
        address: of a running Ray cluster; "": one is started on this machine.
        options: ``KEY=VALUE`` for submitit, such as ``slurm_partition=gpu``.
        folder: where the engine may keep files.
        cells: how many there are to run.

    Raises:
        UserError: the engine cannot be used as asked.
    """
    if engine == "ray":
        from softprompt.core.protocols.on_ray import RayWorkers

        return RayWorkers(jobs, address)
    if engine == "slurm":
        from softprompt.core.protocols.on_slurm import SlurmWorkers

        return SlurmWorkers(jobs, options, folder, cells)
    from softprompt.core.protocols.local import LocalWorkers

    return LocalWorkers(jobs)
