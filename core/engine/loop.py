"""The training loop: epochs of steps, each recorded, each epoch saved so that it can go on."""

import math
import time
from pathlib import Path

import torch

from softprompt.core.base import parallel
from softprompt.core.base.errors import UserError
from softprompt.core.base.log import Recorder, logger
from softprompt.core.base.seeding import derive
from softprompt.core.data.batches import Batches
from softprompt.core.engine import checkpoint
from softprompt.core.engine.trainer import Trainer


def fit(
    trainer: Trainer,
    batches: Batches,
    *,
    folder: Path,
    seed: int,
    meta: dict,
    print_every: int = 10,
    keep_every: int = 0,
) -> float:
    """Train a prepared trainer, or go on with it, to its last epoch; return the seconds in all.

    Args:
        folder: the run's folder, which may hold checkpoints of it.
        meta: what the prompt files' headers say.
        keep_every: keep the prompts of every so many epochs; 0: only the last ones.

    Raises:
        UserError: a logged term is NaN or infinite.
    """
    epochs = trainer.optim.epochs
    torch.manual_seed(derive(seed, "method"))  # what the method itself draws
    place = folder / "checkpoints"
    start, seconds = _restore(trainer, place)
    if start >= epochs:
        return seconds

    learner = trainer.model.learner
    recorder = (
        Recorder(folder, epochs, len(batches), print_every, start)
        if parallel.is_main_process()
        else None
    )
    try:
        for epoch in range(start, epochs):
            began = time.perf_counter()
            trainer.start_epoch(epoch)
            rate = trainer.learning_rates(epoch)["prompts"]
            for index, batch in enumerate(batches.epoch(epoch)):
                terms = {name: value.item() for name, value in trainer.step(batch).items()}
                _check_finite(terms, epoch, index)
                if recorder:
                    recorder.step(epoch, index, terms, rate)
            trainer.after_epoch(epoch)
            seconds += time.perf_counter() - began
            if recorder:
                recorder.end_epoch()
                state = _state(trainer, seconds)
                checkpoint.save(place, epoch + 1, learner.state_dict(), meta, state, keep_every)
    finally:
        if recorder:
            recorder.close()
    return seconds


def _check_finite(terms: dict[str, float], epoch: int, batch: int) -> None:
    for name, value in terms.items():
        if not math.isfinite(value):
            raise UserError(
                f"the term {name!r} is {value} in epoch {epoch + 1}, batch {batch + 1} "
                f"({', '.join(f'{k} {v:.4g}' for k, v in terms.items())}); the last good epoch is "
                "saved; a smaller OPTIM.LR or MODEL.PRECISION fp32 may help"
            )


def _state(trainer: Trainer, seconds: float) -> dict:
    """All that a step depends on, but the prompts themselves."""
    own = {k: v for k, v in trainer.state_dict().items() if not k.startswith("model.")}
    state = {
        "trainer": own,
        "optimizers": {name: o.state_dict() for name, o in trainer.optimizers.items()},
        "rng": torch.get_rng_state(),
        "seconds": seconds,
    }
    if torch.cuda.is_available():
        state["cuda_rng"] = torch.cuda.get_rng_state()
    return state


def _restore(trainer: Trainer, place: Path) -> tuple[int, float]:
    found = checkpoint.resume_state(place)
    if found is None:
        return 0, 0.0
    epoch, prompts, state = found
    checkpoint.load_into(trainer.model.learner, prompts, place)
    prefixed = {f"model.learner.{name}": value for name, value in prompts.items()}
    trainer.load_state_dict(prefixed | state["trainer"])
    for name, optimizer in trainer.optimizers.items():
        optimizer.load_state_dict(state["optimizers"][name])
    torch.set_rng_state(state["rng"])
    if "cuda_rng" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda_rng"])
    logger.info(f"resuming after epoch {epoch}")
    return epoch, state["seconds"]
