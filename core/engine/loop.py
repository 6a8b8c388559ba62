"""The training loop: record every step, and save checkpoints to resume from."""

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from softprompt.core.base import parallel
from softprompt.core.base.errors import UserError, reason
from softprompt.core.base.log import logger
from softprompt.core.base.registry import place
from softprompt.core.base.seeding import derive
from softprompt.core.base.signals import Request, Terminated, deferred
from softprompt.core.data.batches import Batches
from softprompt.core.data.stored import FixedViews
from softprompt.core.engine import checkpoint
from softprompt.core.engine.reach import Reach
from softprompt.core.engine.readings import Readings
from softprompt.core.engine.recorder import RECORD, Recorder, check_tensors
from softprompt.core.engine.trainer import Trainer, check_terms

UNCHANGED = (
    "no trained tensor changed in the first epoch, under {} at the rate {:g}; a step() of its own "
    "must call self.update(self.gradients(loss))"
)

LOST = (
    "the results of this run were lost, and are made anew from {}; how long it trained and what "
    "its training warned of is not known"
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
    save_every: int = 0,
    confirm: Callable[[], None] = lambda: None,
) -> float:
    """Train a prepared trainer to its last epoch, after its latest checkpoint if there is one.

    A signal that asks for the end is obeyed after the step it meets, once that is saved; of several
    processes, each ends at once.

    Args:
        folder: the run's folder, which may hold checkpoints.
        seed: of the random numbers that the method draws.
        meta: the header of the prompt files.
        print_every: batches between two progress lines.
        keep_every: keep the prompts of every so many epochs; 0: only the last ones.
        save_every: also save a checkpoint after so many batches of an epoch; 0: only after epochs.
        confirm: called before each checkpoint; raises ``UserError`` if the folder is lost.

    Returns:
        The seconds of training, those before an interruption included.

    Raises:
        UserError: a logged term or a prompt is NaN or infinite, the loss reaches no trained tensor,
            or the method returns something else than its base class asks for.
        Terminated: a signal has asked for the end; the training is saved.
    """
    epochs = trainer.optim.epochs
    torch.manual_seed(derive(seed, "method"))
    untrained = {n: p.detach().clone() for n, p in trainer.model.params().items()}
    saver = Saver(trainer, folder / "checkpoints", meta, keep_every, confirm)
    start, skipped = saver.restore()
    if start >= epochs:
        return saver.seconds

    count = len(batches)
    every = min(max(1, print_every), count)
    # Watched until the prompts' first step is judged.
    reach = None if start or skipped else Reach(trainer)
    done = start * count + skipped
    ends = deferred() if parallel.world_size() == 1 else nullcontext(Request())
    with Recorder(folder, epochs * count, start=done) as recorder, ends as end:
        readings = Readings(recorder, saver.advice, saver.prove)
        for epoch in range(start, epochs):
            first = skipped if epoch == start else 0
            if not first:  # else restoring has called it, before it loaded what followed
                trainer.start_epoch(epoch)
            saver.began = time.perf_counter()
            lr = trainer.learning_rates(epoch)["prompts"]
            for index, batch in enumerate(batches.epoch(epoch, first), first):
                step, where = epoch * count + index, f"in epoch {epoch + 1}, batch {index + 1}"
                trainer.drawn(batch)  # on the host, so that the step reads nothing from the device
                with reach.watching() if reach else nullcontext():
                    logged = trainer.step(batch)
                check_terms(trainer, "step", logged)
                if reach and reach.stepped:
                    _warn(trainer, reach.warnings())
                    reach = None
                readings.keep(step, epoch, where, lr, logged, trainer.model.params())
                if (index + 1) % every == 0:
                    terms = readings.read()
                    values = " ".join(f"{name} {value:.3g}" for name, value in terms.items())
                    progress = f"epoch {epoch + 1}/{epochs} batch {index + 1}/{count}"
                    recorder.log_progress(step, f"{progress} {values} lr {lr:.3g}")
                due = bool(save_every) and (index + 1) % save_every == 0
                if index + 1 < count and (due or end.name):
                    readings.read()
                    saver.save(recorder, epoch, index + 1)
                    _obey(end, folder, where)
            readings.read()
            trainer.after_epoch(epoch)
            if epoch == 0 and _unchanged(trainer, untrained):
                _warn(trainer, [UNCHANGED.format(place(type(trainer)), lr)])
            check_tensors(trainer.model.params(), f"after epoch {epoch + 1}", saver.advice)
            saver.save(recorder, epoch + 1)
            _obey(end, folder, f"after epoch {epoch + 1}")
    return saver.seconds


class Saver:
    """Writes a training's checkpoints and goes on from them.

    Attributes:
        seconds: of training until the last checkpoint.
        began: when the present epoch began, or was gone on with, since when no seconds are counted.
        proven: whether a step has been taken from the last checkpoint, with finite terms.
    """

    def __init__(
        self,
        trainer: Trainer,
        folder: Path,
        meta: dict,
        keep_every: int,
        confirm: Callable[[], None],
    ):
        """Save and restore nothing yet; the arguments are those of ``fit``."""
        self.trainer = trainer
        self.folder = folder
        self.meta = meta
        self.keep_every = keep_every
        self.confirm = confirm
        self.seconds = 0.0
        self.began = time.perf_counter()
        self.proven = False

    def save(self, recorder: Recorder, epoch: int, batch: int = 0) -> None:
        """Write a checkpoint after so many epochs, and so many batches of the next one."""
        now = time.perf_counter()
        self.seconds += now - self.began
        self.began = now
        self.proven = False
        if parallel.is_main_process():
            self.confirm()
            recorder.flush()
            prompts = self.trainer.model.learner.state_dict()
            state = _state(self.trainer, self.seconds)
            checkpoint.save(self.folder, epoch, prompts, self.meta, state, self.keep_every, batch)

    def prove(self) -> None:
        """Note that a step from the last checkpoint has given finite terms."""
        self.proven = True

    def restore(self) -> tuple[int, int]:
        """Load the latest checkpoint; return its epochs and the batches of the next, else zeros.

        Raises:
            UserError: it is damaged, or of another trainer.
        """
        trained = self.folder.with_name(RECORD).is_file()  # an imported run has no record
        epochs = self.trainer.optim.epochs if trained else 0
        saved = checkpoint.resume_state(self.folder, epochs)
        if saved is None:
            return 0, 0
        trainer, state = self.trainer, saved.state
        checkpoint.load_into(trainer.model.learner, saved.prompts, saved.place)
        if not state:
            _warn(trainer, [LOST.format(saved.place)])
            return saved.epoch, 0
        if saved.batch:
            trainer.start_epoch(saved.epoch)
        try:
            _load_state(trainer, saved.prompts, state)
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{saved.place} was written by another trainer or other code than this one: "
                f"{reason(error)}"
            ) from None
        self.seconds = state["seconds"]
        batches = f" and {saved.batch} batches" if saved.batch else ""
        logger.info(f"resuming after epoch {saved.epoch}{batches}")
        return saved.epoch, saved.batch

    def advice(self) -> str:
        """Return what is saved, and what may help, after a training has diverged.

        The first step from a checkpoint that gives no finite terms shows that it is spoilt itself.
        """
        found = checkpoint.complete(self.folder)
        spoilt = [] if self.proven else found[-1:]
        good = [each for each in found if each not in spoilt and not each.batch]
        saved = f"the last good epoch is saved, {good[-1].place}" if good else "none is saved"
        if spoilt and not good:
            saved = f"{spoilt[0].place} has led to it, and no epoch before is saved"
        return f"{saved}; a smaller OPTIM.LR or MODEL.PRECISION fp32 may help"


def _obey(end: Request, folder: Path, where: str) -> None:
    """Raise ``Terminated`` if a signal has asked for it, once the training is saved."""
    if end.name:
        raise Terminated(f"{end.name} {where}; saved, --resume {folder} goes on from there")


def _warn(trainer: Trainer, warnings: list[str]) -> None:
    trainer.warnings += warnings
    for warning in warnings:
        logger.warning(warning)


def _unchanged(trainer: Trainer, before: dict[str, Tensor]) -> bool:
    return all(torch.equal(p, before[name]) for name, p in trainer.model.params().items())


def _state(trainer: Trainer, seconds: float) -> dict[str, Any]:
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


def _load_state(
    trainer: Trainer, prompts: Mapping[str, torch.Tensor], state: dict[str, Any]
) -> None:
    """Load what ``_state`` has returned, and the prompts."""
    prefixed = {f"model.learner.{name}": value for name, value in prompts.items()}
    trainer.load_state_dict(prefixed | state["trainer"])
    for name, optimizer in trainer.optimizers.items():
        optimizer.load_state_dict(state["optimizers"][name])
    trainer.warnings = state.get("warnings", [])  # checkpoints of 0.1 have none
    torch.set_rng_state(state["rng"])
    if "cuda_rng" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda_rng"])
