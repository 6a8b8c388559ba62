"""Checkpoints: the trained prompts in one file, the rest of the training state in a second one.

Both are written to a hidden folder that is then renamed to ``epoch-N``, or within an epoch to
``epoch-N-batch-M``, so either both exist or neither. While a run trains, the checkpoint before the
last one stays, to go on from it should the last one be damaged.
"""

import re
import shutil
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from softprompt.core.base.errors import UserError, reason
from softprompt.core.base.files import publish, writing_to
from softprompt.core.base.formats import check_shape
from softprompt.core.base.log import logger
from softprompt.core.engine.prompt_file import load_prompts, prompt_bytes

PROMPTS = "prompts.safetensors"
RESUME = "resume.pt"
STATE = {"trainer": dict, "optimizers": dict, "rng": Tensor, "seconds": (int, float)}
THEN = "go on with --resume"


class Checkpoint(NamedTuple):
    """A complete checkpoint."""

    epoch: int  # completed epochs
    batch: int  # completed batches of the next one
    place: Path


class Saved(NamedTuple):
    """What a checkpoint holds, for going on from it."""

    epoch: int  # completed epochs
    batch: int  # completed batches of the next one
    prompts: dict[str, Tensor]
    state: dict[str, Any]
    place: Path


def save(
    folder: Path,
    epoch: int,
    prompts: dict[str, Tensor],
    meta: dict,
    state: dict,
    keep_every: int = 0,
    batch: int = 0,
) -> None:
    """Write a checkpoint in one atomic step, then remove those that it replaces.

    Args:
        folder: of the run's checkpoints; the run's own must exist.
        epoch: number of completed epochs, N.
        meta: the header of the prompt file.
        state: what else resuming needs, tensors and plain values only.
        keep_every: keep the prompts of every so many epochs; 0: only the last ones.
        batch: number of completed batches of the next epoch, M.

    Raises:
        UserError: it cannot be written; the checkpoint before is as it was.
    """
    name = f"epoch-{epoch}-batch-{batch}" if batch else f"epoch-{epoch}"
    partial, final = folder / f".{name}.partial", folder / name
    with writing_to(folder, THEN):
        folder.mkdir(exist_ok=True)
        try:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            header = {"epoch": epoch, **meta}
            (partial / PROMPTS).write_bytes(prompt_bytes(prompts, header))
            torch.save(state, content := BytesIO())  # to a full disk, torch raises no OSError
            (partial / RESUME).write_bytes(content.getvalue())
            if final.exists():  # cut off between this rename and the next one's, or damaged
                shutil.rmtree(final)
            publish(partial, final)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        _remove_replaced(folder, (epoch, batch), keep_every)


def complete(folder: Path) -> list[Checkpoint]:
    """Return the complete checkpoints of a run, oldest first."""
    found = []
    for place in folder.glob("epoch-*"):
        numbers = re.fullmatch(r"epoch-([0-9]+)(?:-batch-([0-9]+))?", place.name)
        if numbers and (place / PROMPTS).is_file():
            found.append(Checkpoint(int(numbers[1]), int(numbers[2] or 0), place))
    return sorted(found)


def epochs(folder: Path) -> list[tuple[int, Path]]:
    """Return the checkpoints of complete epochs, oldest first."""
    return [(each.epoch, each.place) for each in complete(folder) if not each.batch]


def resume_state(folder: Path, epochs: int = 0) -> Saved | None:
    """Return the latest checkpoint that is whole, or None if there is none at all.

    Args:
        epochs: of the whole training; after the last one prompts suffice, and the state is empty.

    Raises:
        UserError: all are damaged, or there are only prompts, as in an imported run.
    """
    found, damages = complete(folder), []
    for epoch, batch, place in reversed(found):
        if (place / RESUME).is_file():
            try:
                saved = Saved(epoch, batch, *_load(place), place)
            except UserError as error:
                damages.append(str(error))
                continue
            if damages:
                logger.warning(f"{damages[0]}; going on from {place}, the checkpoint before")
            return saved
    if damages:
        raise UserError(
            f"{damages[0]}; no checkpoint before it can be gone on from, so delete {folder} to "
            "train from the start"
        )
    if found and found[-1][:2] == (epochs, 0):
        place = found[-1].place
        return Saved(epochs, 0, load_prompts(place / PROMPTS)[0], {}, place)
    if found:
        raise UserError(
            f"{found[-1].place} holds prompts, but nothing to resume their training from; train in "
            "another --output-dir"
        )
    return None


def finish(folder: Path, keep_every: int = 0) -> None:
    """Remove what only resuming needed, after the last epoch.

    Args:
        keep_every: as for ``save``.
    """
    found = complete(folder)
    last = max((each.epoch for each in found if not each.batch), default=None)
    for epoch, batch, place in found:
        stays = epoch == last or _is_kept(epoch, keep_every) or not (place / RESUME).is_file()
        if batch or not stays:
            shutil.rmtree(place)
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
    kept = dict(epochs(run / "checkpoints"))
    if not kept:
        raise UserError(f"no prompts in {run}: a run's folder holds checkpoints/epoch-N/{PROMPTS}")
    if epoch and epoch not in kept:
        raise UserError(
            f"no prompts of epoch {epoch} in {run}; there are {', '.join(map(str, kept))} "
            "(TRAIN.CHECKPOINT_FREQ keeps more)"
        )
    return kept[epoch or max(kept)] / PROMPTS


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


def load_state(file: Path) -> Any:
    """Return what ``torch.save`` has written, tensors and plain values only, on the CPU.

    Raises:
        UserError: the file cannot be read so.
    """
    try:
        return torch.load(file, weights_only=True, map_location="cpu")
    except Exception as error:  # of a damaged file torch raises a dozen types
        raise UserError(f"{file} is damaged, or no file of a training: {reason(error)}") from None


def _load(place: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    prompts, _ = load_prompts(place / PROMPTS)
    state = load_state(place / RESUME)
    check_shape(place / RESUME, state, STATE)
    return prompts, state


def _remove_replaced(folder: Path, done: tuple[int, int], keep_every: int) -> None:
    """Remove what the checkpoint just written replaces.

    There stay the one before it, the last complete epoch, whose prompts can be evaluated, and the
    prompts that are to be kept.
    """
    others = [each for each in complete(folder) if each[:2] != done]
    older = [each for each in others if each[:2] < done]
    whole = [each for each in older if not each.batch]
    staying = {*older[-1:], *whole[-1:]}
    for each in others:
        if each in staying:
            continue
        if each in whole and _is_kept(each.epoch, keep_every):
            (each.place / RESUME).unlink(missing_ok=True)
        else:
            shutil.rmtree(each.place)


def _is_kept(epoch: int, keep_every: int) -> bool:
    return bool(keep_every) and epoch % keep_every == 0
