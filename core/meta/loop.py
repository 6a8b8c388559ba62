"""The meta-training loop: outer steps, and validations at which the state is saved."""

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor, nn

from softprompt.core.base import parallel
from softprompt.core.base.errors import UserError
from softprompt.core.base.log import logger
from softprompt.core.base.ranges import Count, CountOrZero, NotNegative, Range
from softprompt.core.base.signals import Request, Terminated, deferred
from softprompt.core.engine.optim import cosine
from softprompt.core.engine.recorder import Recorder, check_finite, check_tensors
from softprompt.core.meta.episodes import Episode, Episodes
from softprompt.core.meta.objective import Objective, Outcome
from softprompt.core.meta.state import Progress, load_state, save_state

HELP = "a smaller META.INNER.LR, META.OUTER.PROMPT_LR or MODEL.PRECISION fp32 may help"


@dataclass(frozen=True, kw_only=True)
class Outer:
    """The options of ``META.OUTER``: the outer steps and their two Adam optimizers.

    Args:
        steps: outer steps at most.
        tasks: tasks of a step.
        prompt_lr, regulator_lr: rates, which decay to 0 along a cosine.
        max_norm: of the meta-gradient of the prompts, and of that of the regulator.
        val_freq: steps between two validations, at which the state is saved too.
        val_tasks: held-out tasks of a validation.
        patience: validations without improvement after which training stops; 0: never.
        print_freq: steps between two progress lines.
        checkpoint_steps: steps between two further saves of the state; 0: none.
    """

    steps: Count = 10_000
    tasks: Count = 4
    prompt_lr: NotNegative = 5e-4
    regulator_lr: NotNegative = 1e-4
    max_norm: Annotated[float, Range(above=0, unbounded=True)] = 1.0
    val_freq: Count = 250
    val_tasks: Count = 200
    patience: CountOrZero = 8
    print_freq: Count = 10
    checkpoint_steps: CountOrZero = 0

    def __post_init__(self) -> None:
        counts = ("steps", "tasks", "val_freq", "val_tasks", "print_freq")
        for name, least in (*((each, 1) for each in counts), ("checkpoint_steps", 0)):
            if getattr(self, name) < least:
                raise UserError(
                    f"META.OUTER.{name.upper()} is {getattr(self, name)}, but must be at least "
                    f"{least}"
                )


def meta_fit(
    objective: Objective,
    outer: Outer,
    training: Episodes,
    held_out: Episodes,
    folder: Path,
    confirm: Callable[[], None] = lambda: None,
) -> Progress:
    """Meta-train prompts and regulator, or continue to; they end in the best validated state.

    A signal that asks for the end is obeyed after the step it meets, once that is saved; of several
    processes, each ends at once.

    Args:
        folder: the run's folder, which may hold the state of an interrupted meta-training.
        confirm: called before each save; raises ``UserError`` if the folder is lost.

    Raises:
        UserError: a loss or a trained tensor is NaN or infinite.
        Terminated: a signal has asked for the end; the meta-training is saved.
    """
    modules: dict[str, nn.Module] = {
        "learner": objective.learner,
        "regulator": objective.regulator,
    }
    rates = {"learner": outer.prompt_lr, "regulator": outer.regulator_lr}
    optimizers = {
        name: torch.optim.Adam(module.parameters(), lr=rates[name])
        for name, module in modules.items()
        if any(True for _ in module.parameters())
    }
    progress = load_state(folder, modules, optimizers)
    saved = progress.step
    began = time.perf_counter() - progress.seconds
    trained = {
        f"{part}.{name}": value
        for part, module in modules.items()
        for name, value in module.named_parameters()
    }

    def advice() -> str:
        return (f"the state after step {saved} is saved; " if saved else "none is saved; ") + HELP

    ends = deferred() if parallel.world_size() == 1 else nullcontext(Request())
    with (
        Recorder(folder, outer.steps, start=progress.step, tag="meta-train") as recorder,
        ends as end,
    ):
        if not progress.validations:
            _validate(objective, outer, held_out, progress, recorder, advice)
        indices = range(progress.step * outer.tasks, outer.steps * outer.tasks)
        episodes = training.draw(indices)
        while progress.step < outer.steps and not (0 < outer.patience <= progress.waited):
            step = progress.step
            lr = {name: cosine(rate, step, outer.steps) for name, rate in rates.items()}
            for name, optimizer in optimizers.items():
                optimizer.param_groups[0]["lr"] = lr[name]
            outcome = _step(objective, outer, optimizers, episodes)
            _check_finite(outcome, step, advice)
            check_tensors(trained, f"after step {step + 1}", advice)
            recorder.step(step, outcome._asdict(), lr["learner"])
            progress.step += 1
            if progress.step % outer.print_freq == 0:
                done = f"step {progress.step}/{outer.steps}"
                recorder.log_progress(step, f"{done} {_line(outcome)} lr {lr['learner']:.3g}")
            validated = progress.step % outer.val_freq == 0 or progress.step == outer.steps
            if validated:
                _validate(objective, outer, held_out, progress, recorder, advice)
            due = outer.checkpoint_steps and progress.step % outer.checkpoint_steps == 0
            if validated or due or end.name:
                progress.seconds = time.perf_counter() - began
                recorder.flush()
                if parallel.is_main_process():
                    confirm()
                    save_state(folder, modules, optimizers, progress)
                saved = progress.step
            if end.name:
                raise Terminated(
                    f"{end.name} after step {progress.step}; saved, --resume --output-dir {folder} "
                    "goes on from there"
                )
    if progress.step < outer.steps:
        logger.info(
            f"stopped after step {progress.step}: {progress.waited} validations without a better "
            f"loss than that of step {progress.best_step}"
        )
    for name, module in modules.items():
        module.load_state_dict(progress.best[name])
    return progress


def _step(
    objective: Objective,
    outer: Outer,
    optimizers: dict[str, torch.optim.Adam],
    episodes: Iterator[Episode],
) -> Outcome:
    """Take one outer step along the tasks' mean meta-gradient; return their mean outcome."""
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
        torch.nn.utils.clip_grad_norm_(trained, outer.max_norm)
        optimizer.step()
    return _mean(outcomes)


def _add(module: nn.Module, gradients: dict[str, Tensor], tasks: int) -> None:
    for name, value in module.named_parameters():
        share = gradients[name] / tasks
        value.grad = share if value.grad is None else value.grad + share


def _validate(
    objective: Objective,
    outer: Outer,
    held_out: Episodes,
    progress: Progress,
    recorder: Recorder,
    advice: Callable[[], str],
) -> None:
    """Evaluate on the same held-out tasks each time, and keep the best prompts and regulator."""
    outcome = _mean([objective.evaluate(e) for e in held_out.draw(range(outer.val_tasks))])
    _check_finite(outcome, progress.step, advice)
    earlier = [found["loss"] for found in progress.validations]
    progress.validations.append({"step": progress.step, **outcome._asdict()})
    best = not earlier or outcome.loss < min(earlier)
    if best:
        progress.best_step = progress.step
        progress.best = {
            "learner": copy.deepcopy(objective.learner.state_dict()),
            "regulator": copy.deepcopy(objective.regulator.state_dict()),
        }
    recorder.scalars(progress.step, outcome._asdict(), "meta-val")
    best_so_far = ", the best so far" if best else ""
    recorder.log(f"held-out topics after step {progress.step}: {_line(outcome)}{best_so_far}")


def _mean(outcomes: list[Outcome]) -> Outcome:
    return Outcome(*(sum(values) / len(values) for values in zip(*outcomes, strict=True)))


def _check_finite(outcome: Outcome, step: int, advice: Callable[[], str]) -> None:
    check_finite({"meta-objective": outcome.loss}, f"at step {step + 1}", advice)


def _line(outcome: Outcome) -> str:
    """Return loss, accuracy on queries of the same and of other classes, and gate."""
    return (
        f"loss {outcome.loss:.3g} same {outcome.accuracy_same:.1f}% "
        f"other {outcome.accuracy_other:.1f}% gate {outcome.gate:.2f}"
    )
