"""The state that interrupted meta-training goes on from, in one file written at once."""

import os
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

FILE = "resume.pt"


def save_state(folder: Path, modules: dict[str, nn.Module], optimizers: dict, progress) -> None:
    """Write all that the next outer step depends on; tasks depend on their index alone."""
    state = {
        "modules": {name: module.state_dict() for name, module in modules.items()},
        "optimizers": {name: optimizer.state_dict() for name, optimizer in optimizers.items()},
        "progress": asdict(progress),
    }
    partial = folder / f".{FILE}.partial"
    with open(partial, "wb") as opened:
        torch.save(state, opened)
        opened.flush()
        os.fsync(opened.fileno())
    partial.replace(folder / FILE)


def load_state(folder: Path, modules: dict[str, nn.Module], optimizers: dict, progress: type):
    """Bring modules and optimizers to the saved state and return its progress, or a fresh one."""
    if not (folder / FILE).is_file():
        return progress()
    state = torch.load(folder / FILE, weights_only=True, map_location="cpu")
    for name, module in modules.items():
        module.load_state_dict(state["modules"][name])
    for name, optimizer in optimizers.items():
        optimizer.load_state_dict(state["optimizers"][name])
    return progress(**state["progress"])


def finish(folder: Path) -> None:
    """Remove what only resuming needed."""
    (folder / FILE).unlink(missing_ok=True)
