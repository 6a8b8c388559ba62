"""What is sent to workers on other machines: by value, for nothing of ours is imported there yet.

They run the driver's very code and write where it looks, so its folders are on a file system that
all machines share.
"""


class RemoteWorker:
    """Runs cells in its process, which keeps what they have loaded."""

    def __init__(self, place: str):
        """Note where the code is: the folder that holds core, trainers and datasets."""
        self.place = place

    def run(self, cells: list[dict], threads: int) -> list[dict]:
        import sys
        import types

        if "softprompt" not in sys.modules:
            package = types.ModuleType("softprompt")
            package.__path__ = [self.place]
            sys.modules["softprompt"] = package
        from softprompt.core.protocols.work import run_cells

        return run_cells(cells, threads)
