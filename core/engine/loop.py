"""The training loop: record every step, and save a checkpoint to resume from after each epoch."""

import time
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor

from softprompt.core.base import parallel
from softprompt.core.base.log import logger
from softprompt.core.base.registry import place
from softprompt.core.base.seeding import derive
from softprompt.core.data.batches import Batches
from softprompt.core.data.stored import FixedViews
from softprompt.core.engine import checkpoint
from softprompt.core.engine.reach import Reach
from softprompt.core.engine.recorder import Recorder, check_finite
from softprompt.core.engine.trainer import Trainer, check_terms

ADVICE = "the last good epoch is saved; a smaller OPTIM.LR or MODEL.PRECISION fp32 may help"
UNCHANGED = (
    "no trained tensor changed in the first epoch, under {} at the rate {:g}; a step() of its own "
    "must call self.update(self.gradients(loss))"
)


def fit(
    trainer: Trainer,
    batches: Batches | FixedViews,
    *,
    folder: Path,
    seed: int,
    meta: dict,
    print_every: int = 10,
    keep_every: int = 0,
) -> float:
    """Train a prepared trainer to its last epoch, after its latest checkpoint if there is one.

    Args:
        folder: the run's folder, which may hold checkpoints.
        seed: of the random numbers that the method draws.
        meta: the header of the prompt files.
        print_every: batches between two progress lines.
        keep_every: keep the prompts of every so many epochs; 0: only the last ones.

    Returns:
        The seconds of training, those before an interruption included.

    Raises:
        UserError: a logged term is NaN or infinite, the loss reaches no trained tensor, or the
            method returns something else than its base class asks for.
    """
    epochs = trainer.optim.epochs
    torch.manual_seed(derive(seed, "method"))
    checkpoints = folder / "checkpoints"
    start, seconds = _restore(trainer, checkpoints)
    if start >= epochs:
        return seconds

    count, learner = len(batches), trainer.model.learner
    every = min(max(1, print_every), count)
    reach = Reach(trainer) if start == 0 else None  # until the prompts' first step is judged
    untrained = {n: p.detach().clone() for n, p in trainer.model.params().items()}
    with Recorder(folder, epochs * count, start=start * count) as recorder:
        for epoch in range(start, epochs):
            began = time.perf_counter()
            trainer.start_epoch(epoch)
            lr = trainer.learning_rates(epoch)["prompts"]
            for index, batch in enumerate(batches.epoch(epoch)):
                step, where = epoch * count + index, f"in epoch {epoch + 1}, batch {index + 1}"
                with reach.watching() if reach else nullcontext():
                    logged = trainer.step(batch)
                check_terms(trainer, "step", logged)
                if reach and reach.stepped:
                    _warn(trainer, reach.warnings())
                    reach = None
                terms = {name: value.item() for name, value in logged.items()}
                check_finite(terms, where, ADVICE)
                recorder.step(step, terms, lr, epoch=epoch)
                if (index + 1) % every == 0:
                    values = " ".join(f"{name} {value:.3g}" for name, value in terms.items())
                    done = f"epoch {epoch + 1}/{epochs} batch {index + 1}/{count}"
                    recorder.log_progress(step, f"{done} {values} lr {lr:.3g}")
            trainer.after_epoch(epoch)
            if epoch == 0 and _unchanged(trainer, untrained):
                _warn(trainer, [UNCHANGED.format(place(type(trainer)), lr)])
            seconds += time.perf_counter() - began
            recorder.flush()
            if parallel.is_main_process():
                state, prompts = _state(trainer, seconds), learner.state_dict()
                checkpoint.save(checkpoints, epoch + 1, prompts, meta, state, keep_every)
    return seconds


def _warn(trainer: Trainer, warnings: list[str]) -> None:
    trainer.warnings += warnings
    for warning in warnings:
        logger.warning(warning)


def _unchanged(trainer: Trainer, before: dict[str, Tensor]) -> bool:
    return all(torch.equal(p, before[name]) for name, p in trainer.model.params().items())


def _state(trainer: Trainer, seconds: float) -> dict:
    """Return everything that later steps depend on except the prompts themselves."""
    own = {k: v for k, v in trainer.state_dict().items() if not k.startswith("model.")}
    state = {
        "trainer": own,
        "optimizers": {name: o.state_dict() for name, o in trainer.optimizers.items()},
        "rng": torch.get_rng_state(),
        "seconds": seconds,
        "warnings": trainer.warnings,
    }
    if torch.cuda.is_available():
        state["cuda_rng"] = torch.cuda.get_rng_state()
    return state


def _restore(trainer: Trainer, checkpoints: Path) -> tuple[int, float]:
    """Load the latest checkpoint; return the epochs and seconds that it took, 0 without one."""
    saved = checkpoint.resume_state(checkpoints)
    if saved is None:
        return 0, 0.0
    epoch, prompts, state = saved
    checkpoint.load_into(trainer.model.learner, prompts, checkpoints)
    prefixed = {f"model.learner.{name}": value for name, value in prompts.items()}
    trainer.load_state_dict(prefixed | state["trainer"])
    for name, optimizer in trainer.optimizers.items():
        optimizer.load_state_dict(state["optimizers"][name])
    trainer.warnings = state.get("warnings", [])  # checkpoints of 0.1 have none
    torch.set_rng_state(state["rng"])
    if "cuda_rng" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda_rng"])
    logger.info(f"resuming after epoch {epoch}")
    return epoch, state["seconds"]
