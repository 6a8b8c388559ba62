"""The worker on another machine, sent there by value: nothing of ours can be imported there yet.

It runs the code of the driver's checkout and writes to the driver's folders, so both are on a file
system that all machines share.
"""

from pathlib import Path


class RemoteWorker:
    """Runs cells in its process and reuses what they have loaded."""

    def __init__(self, code: str):
        """Store the folder that holds core, trainers and datasets."""
        self.code = code

    def run(self, cells: list[dict], threads: int) -> list[dict]:
        import sys
        import types

        if "softprompt" not in sys.modules:
            package = types.ModuleType("softprompt")
            package.__path__ = [self.code]
            sys.modules["softprompt"] = package
        from softprompt.core.protocols.worker import run_cells

        return run_cells(cells, threads)

    __call__ = run

    def checkpoint(self, cells: list[dict], threads: int) -> object:
        """Return what submitit queues again when Slurm preempts a job or its time runs out.

        The cells that have finished meanwhile are skipped, and the others go on from their last
        checkpoints.
        """
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, cells, threads)


def code_folder() -> str:
    """Return the folder that holds the core, trainers and datasets of this process."""
    return str(Path(__file__).resolve().parents[3])
