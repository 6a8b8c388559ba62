"""The state of a meta-training, and the one file from which an interrupted one continues."""

from dataclasses import asdict, dataclass, field
from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor, nn

from softprompt.core.base.errors import UserError, reason
from softprompt.core.base.files import write_atomically, writing_to
from softprompt.core.base.formats import check_shape
from softprompt.core.engine import checkpoint

FILE = "resume.pt"
SHAPE = {
    "modules": dict,
    "optimizers": dict,
    "progress": {
        "step": int,
        "seconds": (int, float),
        "best_step": int,
        "validations": list,
        "best": dict,
    },
}


@dataclass
class Progress:
    """The progress of a meta-training, and its best state."""

    step: int = 0
    seconds: float = 0.0
    best_step: int = 0
    validations: list[dict] = field(default_factory=list)  # step, loss, accuracies, gate
    best: dict[str, dict[str, Tensor]] = field(default_factory=dict)  # learner's and regulator's

    @property
    def waited(self) -> int:
        """Validations since the best one."""
        return sum(found["step"] > self.best_step for found in self.validations)


def save_state(
    folder: Path,
    modules: dict[str, nn.Module],
    optimizers: dict[str, torch.optim.Adam],
    progress: Progress,
) -> None:
    """Write everything that the next outer step depends on; tasks depend on their index alone.

    Raises:
        UserError: it cannot be written; the state before is as it was.
    """
    state = {
        "modules": {name: module.state_dict() for name, module in modules.items()},
        "optimizers": {name: optimizer.state_dict() for name, optimizer in optimizers.items()},
        "progress": asdict(progress),
    }
    torch.save(state, content := BytesIO())
    with writing_to(folder / FILE, "go on with --resume"):
        write_atomically(folder / FILE, content.getvalue())


def load_state(
    folder: Path, modules: dict[str, nn.Module], optimizers: dict[str, torch.optim.Adam]
) -> Progress:
    """Restore modules and optimizers and return the progress; without a state, a fresh one.

    Raises:
        UserError: the file is damaged, or of another meta-training.
    """
    file = folder / FILE
    if not file.is_file():
        return Progress()
    try:
        state = checkpoint.load_state(file)
        check_shape(file, state, SHAPE)
        for name, module in modules.items():
            module.load_state_dict(state["modules"][name])
        for name, optimizer in optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        return Progress(**state["progress"])
    except (UserError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{file} cannot be gone on from ({reason(error)}); delete it to meta-train from the "
            "start"
        ) from None


def finish(folder: Path) -> None:
    """Remove the file that only resuming needs."""
    (folder / FILE).unlink(missing_ok=True)
