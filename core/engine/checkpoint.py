"""Checkpoints: the trained prompts in one file, the rest of the training state in a second one.

Both are written to a hidden folder that is then renamed to ``epoch-N``, so of an epoch always
either both exist or neither. The prompt file is safetensors; its header holds, as JSON, everything
needed to use the prompts: learner, options, class names, template and backbone.
"""

import json
import os
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor
from yacs.config import CfgNode

from softprompt.core.base.errors import UserError
from softprompt.core.clip.build import RANDOM
from softprompt.core.config.load import settings
from softprompt.core.config.options import options_from
from softprompt.core.prompts.base import PromptLearner

PROMPTS = "prompts.safetensors"
RESUME = "resume.pt"
FORMAT = 1


def save(
    folder: Path,
    epoch: int,
    prompts: dict[str, Tensor],
    meta: dict,
    state: dict,
    keep_every: int = 0,
) -> None:
    """Write ``folder/epoch-N`` in one atomic step, then remove what it replaces.

    Args:
        epoch: number of completed epochs, N.
        meta: the header of the prompt file.
        state: what else resuming needs, tensors and plain values only.
        keep_every: keep the prompts of every so many epochs; 0: only the last ones.
    """
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".epoch-{epoch}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    tensors = {name: value.detach().cpu().contiguous() for name, value in prompts.items()}
    header = {"softprompt": json.dumps({"format": FORMAT, "epoch": epoch, **meta})}
    (partial / PROMPTS).write_bytes(safetensors_bytes(tensors, metadata=header))
    torch.save(state, partial / RESUME)
    for file in partial.iterdir():
        _sync(file)
    final = folder / f"epoch-{epoch}"
    if final.exists():  # cut off between this epoch's rename and the next one's
        shutil.rmtree(final)
    partial.rename(final)
    _sync(folder)
    for older, place in epochs(folder):
        if older < epoch:
            if keep_every and older % keep_every == 0:
                (place / RESUME).unlink(missing_ok=True)
            else:
                shutil.rmtree(place)


def epochs(folder: Path) -> list[tuple[int, Path]]:
    """Return the complete checkpoints of a run, oldest first."""
    complete = []
    for place in folder.glob("epoch-*"):
        number = place.name.removeprefix("epoch-")
        if number.isdigit() and (place / PROMPTS).is_file():
            complete.append((int(number), place))
    return sorted(complete)


def resume_state(folder: Path) -> tuple[int, dict[str, Tensor], dict] | None:
    """Return (epochs done, prompts, state) of the latest checkpoint, or None if there is none.

    Raises:
        UserError: there are only prompts, as in an imported run.
    """
    complete = epochs(folder)
    for epoch, place in reversed(complete):
        if (place / RESUME).is_file():
            prompts, _ = load_prompts(place / PROMPTS)
            return epoch, prompts, torch.load(place / RESUME, weights_only=True)
    if complete:
        raise UserError(
            f"{complete[-1][1]} holds prompts, but nothing to resume their training from; train in "
            "another --output-dir"
        )
    return None


def finish(folder: Path) -> None:
    """Remove what only resuming needed, after the last epoch."""
    for file in folder.glob(f"epoch-*/{RESUME}"):
        file.unlink()
    for place in folder.glob("*epoch-*"):
        if not (place / PROMPTS).is_file() or place.name.startswith("."):
            shutil.rmtree(place)  # interrupted while it was written or removed


def find_prompts(run: Path, epoch: int = 0) -> Path:
    """Return the prompt file of a run's last epoch, or of ``epoch`` if that was kept.

    Args:
        run: the run's folder, or the file itself.
        epoch: 0: the last one.

    Raises:
        UserError: there is none.
    """
    if run.is_file():
        return run
    complete = dict(epochs(run / "checkpoints"))
    if not complete:
        raise UserError(f"no prompts in {run}: a run's folder holds checkpoints/epoch-N/{PROMPTS}")
    if epoch and epoch not in complete:
        raise UserError(
            f"no prompts of epoch {epoch} in {run}; there are {', '.join(map(str, complete))} "
            "(TRAIN.CHECKPOINT_FREQ keeps more)"
        )
    return complete[epoch or max(complete)] / PROMPTS


def load_prompts(file: Path) -> tuple[dict[str, Tensor], dict]:
    """Return the tensors and the header of a prompt file.

    Raises:
        UserError: it is none.
    """
    try:
        with safe_open(file, framework="pt") as opened:
            header = (opened.metadata() or {}).get("softprompt")
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file} cannot be read as a prompt file: {error}") from None
    if header is None:
        raise UserError(f"{file} holds tensors, but none of softprompt's prompts")
    return tensors, json.loads(header)


def load_into(learner: torch.nn.Module, tensors: dict[str, Tensor], file: Path) -> None:
    """Load a file's tensors into a learner with exactly these names and shapes.

    Raises:
        UserError: a name or shape differs.
    """
    own = {name: tuple(value.shape) for name, value in learner.named_parameters()}
    given = {name: tuple(value.shape) for name, value in tensors.items()}
    for name in sorted(own.keys() | given.keys()):
        if own.get(name) != given.get(name):
            raise UserError(
                f"{file} holds {name} of shape {given.get(name, 'none')}, this configuration "
                f"needs {own.get(name, 'none')}; use the backbone and PROMPT options of that run"
            )
    learner.load_state_dict(tensors, strict=True)


def prompt_header(cfg: CfgNode, learner: PromptLearner, classnames: tuple[str, ...]) -> dict:
    """Return the header of a prompt file, except for its epoch."""
    backbone = cfg.MODEL.BACKBONE
    return {
        "learner": cfg.PROMPT.NAME.lower(),
        "options": options_from(cfg, "PROMPT"),
        "trainer": cfg.TRAINER.NAME.lower(),
        "classnames": list(classnames),
        "template": learner.template,
        "dataset": cfg.DATASET.NAME,
        "backbone": {"name": backbone.NAME, "weights": backbone.PRETRAINED or RANDOM},
        "config": settings(cfg),
    }


def _sync(path: Path) -> None:
    """Wait until a file, or a rename in a folder, is on the disk."""
    on_windows = os.name == "nt"  # it opens no folder, and syncs no file that is open for reading
    if on_windows and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDWR if on_windows else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
