"""The meta-training loop: outer steps, validation on held-out topics, states to go on from."""

import copy
import math
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from softprompt.core.base import parallel
from softprompt.core.base.errors import UserError
from softprompt.core.base.log import logger
from softprompt.core.meta.episodes import Episodes
from softprompt.core.meta.meta_log import MetaRecorder
from softprompt.core.meta.meta_state import load_state, save_state
from softprompt.core.meta.objective import Objective, Outcome


@dataclass(frozen=True, kw_only=True)
class Outer:
    """What ``META.OUTER`` says: the outer steps and their two Adam optimizers."""

    steps: int = 10_000
    tasks: int = 4  # a step
    prompt_lr: float = 5e-4
    regulator_lr: float = 1e-4
    max_norm: float = 1.0  # of the meta-gradient of the prompts, and of that of the regulator
    val_freq: int = 250  # steps between two validations, at which the state is saved too
    val_tasks: int = 200
    patience: int = 8  # validations without a better one, after which training stops; 0: never
    print_freq: int = 10

    def __post_init__(self):
        for name in ("steps", "tasks", "val_freq", "val_tasks", "print_freq"):
            if getattr(self, name) < 1:
                raise UserError(
                    f"META.OUTER.{name.upper()} is {getattr(self, name)}, but must be at least 1"
                )

    def rate(self, step: int) -> float:
        """The share of the learning rates at a step, a cosine to 0."""
        return (1 + math.cos(math.pi * step / self.steps)) / 2


@dataclass
class Progress:
    """What meta-training has come to."""

    step: int = 0
    seconds: float = 0.0
    best_step: int = 0
    validations: list[dict] = field(default_factory=list)  # step, loss, accuracies, gate
    best: dict[str, dict[str, Tensor]] = field(default_factory=dict)  # learner's and regulator's

    @property
    def waited(self) -> int:
        """Validations since the best one."""
        return sum(found["step"] > self.best_step for found in self.validations)


def meta_fit(
    objective: Objective, outer: Outer, training: Episodes, held_out: Episodes, folder: Path
) -> Progress:
    """Meta-train prompts and regulator, or go on with it; they end as the best validation's.

    Raises:
        UserError: a loss is NaN or infinite.
    """
    modules = {"learner": objective.learner, "regulator": objective.regulator}
    rates = {"learner": outer.prompt_lr, "regulator": outer.regulator_lr}
    optimizers = {
        name: torch.optim.Adam(module.parameters(), lr=rates[name])
        for name, module in modules.items()
        if any(True for _ in module.parameters())
    }
    progress = load_state(folder, modules, optimizers, Progress)
    recorder = (
        MetaRecorder(folder, outer.steps, outer.print_freq, progress.step)
        if parallel.is_main_process()
        else None
    )
    began = time.perf_counter() - progress.seconds
    try:
        if not progress.validations:
            _validate(objective, outer, held_out, progress, recorder)
        indices = range(progress.step * outer.tasks, outer.steps * outer.tasks)
        episodes = training.draw(indices)
        while progress.step < outer.steps and not (0 < outer.patience <= progress.waited):
            for name, optimizer in optimizers.items():
                optimizer.param_groups[0]["lr"] = rates[name] * outer.rate(progress.step)
            outcome = _step(objective, outer, optimizers, episodes)
            _check_finite(outcome, progress.step)
            if recorder:
                rate = rates["learner"] * outer.rate(progress.step)
                recorder.step(progress.step, outcome, rate)
            progress.step += 1
            if progress.step % outer.val_freq == 0 or progress.step == outer.steps:
                _validate(objective, outer, held_out, progress, recorder)
                progress.seconds = time.perf_counter() - began
                if recorder:
                    recorder.flush()
                    save_state(folder, modules, optimizers, progress)
    finally:
        if recorder:
            recorder.close()
    if progress.step < outer.steps:
        logger.info(
            f"stopped after step {progress.step}: {progress.waited} validations without a better "
            f"loss than that of step {progress.best_step}"
        )
    for name, module in modules.items():
        module.load_state_dict(progress.best[name])
    return progress


def _step(objective: Objective, outer: Outer, optimizers, episodes) -> Outcome:
    """One outer step along the mean of the tasks' meta-gradients; return their mean outcome."""
    outcomes = []
    for optimizer in optimizers.values():
        optimizer.zero_grad()  # once, before the loop over the tasks
    for _ in range(outer.tasks):
        outcome, prompts, regulator = objective.gradients(next(episodes))
        outcomes.append(outcome)
        _add(objective.learner, prompts, outer.tasks)
        _add(objective.regulator, regulator, outer.tasks)
    for optimizer in optimizers.values():
        trained = optimizer.param_groups[0]["params"]
        agreed = parallel.broadcast_from_main([value.grad for value in trained])
        for value, gradient in zip(trained, agreed, strict=True):
            value.grad = gradient
        torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], outer.max_norm)
        optimizer.step()
    return _mean(outcomes)


def _add(module: torch.nn.Module, gradients: dict[str, Tensor], tasks: int) -> None:
    for name, value in module.named_parameters():
        share = gradients[name] / tasks
        value.grad = share if value.grad is None else value.grad + share


def _validate(
    objective: Objective,
    outer: Outer,
    held_out: Episodes,
    progress: Progress,
    recorder: MetaRecorder | None,
) -> None:
    """Evaluate on the same held-out tasks each time, and keep the best prompts and regulator."""
    outcome = _mean([objective.evaluate(e) for e in held_out.draw(range(outer.val_tasks))])
    _check_finite(outcome, progress.step)
    earlier = [found["loss"] for found in progress.validations]
    progress.validations.append({"step": progress.step, **outcome._asdict()})
    if not earlier or outcome.loss < min(earlier):
        progress.best_step = progress.step
        progress.best = {
            "learner": copy.deepcopy(objective.learner.state_dict()),
            "regulator": copy.deepcopy(objective.regulator.state_dict()),
        }
    if recorder:
        recorder.validation(progress.step, outcome, best=progress.best_step == progress.step)


def _mean(outcomes: list[Outcome]) -> Outcome:
    return Outcome(*(sum(values) / len(values) for values in zip(*outcomes, strict=True)))


def _check_finite(outcome: Outcome, step: int) -> None:
    if not math.isfinite(outcome.loss):
        raise UserError(
            f"the meta-objective is {outcome.loss} at step {step + 1}; the last validated state is "
            "saved; a smaller META.INNER.LR, META.OUTER.PROMPT_LR or MODEL.PRECISION fp32 may help"
        )
