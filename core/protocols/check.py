"""What an engine needs and takes, told before anything is planned or torch is imported."""

from importlib.util import find_spec

from softprompt.core.base.errors import UserError

PACKAGES = {"ray": "ray", "slurm": "submitit"}


def check_engine(engine: str, jobs: int, *, address: str, options: list[str]) -> None:
    """Refuse what ``workers_of`` cannot do; the arguments are its.

    Raises:
        UserError: the engine is not installed, or does not take what it is given.
    """
    package = PACKAGES.get(engine)
    if package and find_spec(package) is None:
        raise UserError(f'--engine {engine} needs {package}: pip install ".[{engine}]"')
    if address and engine != "ray":
        raise UserError(
            f"--address {address} is of a Ray cluster, but the engine is {engine}: give --engine "
            "ray, or leave --address out"
        )
    if options and engine != "slurm":
        raise UserError(
            f"--slurm {' '.join(options)} is for Slurm, but the engine is {engine}: give --engine "
            "slurm, or leave --slurm out"
        )
    if engine == "slurm" and not jobs:
        raise UserError("--engine slurm needs --jobs N, how many Slurm jobs run at a time")
    for option in options:
        if "=" not in option:
            raise UserError(f"--slurm takes KEY=VALUE such as slurm_partition=gpu, not {option!r}")
