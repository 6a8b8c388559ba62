"""A cell: one run of a plan, as plain values that any worker can carry out."""

from dataclasses import dataclass, field
from pathlib import Path

from yacs.config import CfgNode

from softprompt.core.base.leases import is_leased, owner
from softprompt.core.config.load import load_config
from softprompt.core.engine.results import FILE
from softprompt.core.engine.run_folder import WRITER

# Runners: functions of a cell, as "module:function" because their modules import torch.
TRAIN = "softprompt.core.protocols.worker:train_cell"
EVALUATE = "softprompt.core.protocols.worker:evaluate_cell"
SWEEP = ".sweep"  # folder of the leases and errors, in that of all runs


@dataclass(frozen=True)
class Cell:
    """One run, as plain values that can be sent to any worker; its paths are absolute."""

    name: str
    method: str  # the row of the progress table that counts it
    folder: str
    leases: str  # the folder in which workers lease it
    group: tuple[str, ...]  # such as backbone and dataset: what a worker loads once for all of them
    config_file: str
    dataset_file: str = ""
    flags: dict = field(default_factory=dict)  # dotted key to value, set by the plan
    pairs: tuple[str, ...] = ()  # KEY, VALUE, KEY ..., set by the user
    runner: str = TRAIN  # MODULE:FUNCTION that takes this cell
    model_dir: str = ""  # of an evaluation: the run of the prompts; "": nothing was trained
    epoch: int = 0  # of an evaluation: the epoch of the prompts; 0: the last one
    subsets: tuple[str, ...] = ()  # of an evaluation: the class sets; (): TEST.CLASSES
    depends_on: str = ""  # the folder of the cell that must have finished before

    @classmethod
    def below(cls, output: Path, place: str | Path, *, flags: dict, **fields) -> "Cell":
        """Return a cell that writes to ``output/place``."""
        output = output.expanduser().absolute()
        folder = str(output / place)
        flags = {"OUTPUT_DIR": folder, **flags}
        return cls(folder=folder, leases=str(output / SWEEP / place), flags=flags, **fields)

    def configuration(self) -> CfgNode:
        """Return the configuration of a training or an evaluation."""
        return load_config(self.config_file, self.dataset_file, self.flags, list(self.pairs))

    def finished(self) -> bool:
        return Path(self.folder, FILE).is_file()

    def used_by(self) -> str:
        """Return which live process runs it, in words; "" if none does."""
        places = (Path(self.leases), Path(self.folder, WRITER))
        return next((owner(place) for place in places if is_leased(place)), "")
