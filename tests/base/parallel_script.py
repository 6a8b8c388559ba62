"""What tests/base/test_parallel.py runs by torchrun, as two processes.

Usage: parallel_script.py FOLDER; each process writes what it has found to FOLDER/RANK.pt, the first
one also what it finds before it joins the other, to FOLDER/alone.pt.
"""

import os
import sys
from pathlib import Path

import torch

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "meta")]
from conftest import (
    Sizes,
    build_batch,
    build_model,
    build_small_clip,
    build_trainer,
    trained_learners,
)
from test_meta_training import build_episodes, build_objective, exactly

from softprompt.core.base import parallel
from softprompt.core.base.plugins import import_built_in
from softprompt.core.base.registry import TRAINERS

DOUBLE = torch.float64
# Learners whose prompts are divided in each way: with the classes, with the images, and not at all.
# What trainers do with features, which all processes hold, knows nothing of it; the others train
# under one that takes first derivatives and one that takes second ones.
UNDER_ALL = ("coop by class", "cocoop", "maple")


def models() -> dict[str, tuple[str, dict]]:
    """Every learner, and contexts by class, which are divided with the classes."""
    names = trained_learners(Sizes())
    return {"coop by class": ("coop", {"csc": True})} | {name: (name, {}) for name in names}


def trained(clip, learner: str, trainer: str, size: int) -> dict[str, torch.Tensor]:
    """Return the prompts after three steps on so many images, the last loss and the logits."""
    name, options = models()[learner]
    model = build_model(name, clip, **options)
    method = build_trainer(trainer, model)
    torch.manual_seed(1)
    batch = build_batch(size, DOUBLE)
    for _ in range(3):
        logged = method.step(batch)
    with torch.no_grad():
        logits = model(batch.images).logits
    return {**model.params(), "logged": sum(logged.values()), "logits": logits}


def in_chunks(clip) -> dict[str, torch.Tensor]:
    """Text prompts under a limit of memory at which each process encodes in several chunks."""
    clip.memory_limit = 1e-6
    try:
        return trained(clip, "ivlp", "prometar", 7)
    finally:
        clip.memory_limit = 4.0


def meta_gradients(clip, second_order: bool) -> dict[str, torch.Tensor]:
    """Of prompts and regulator, on one task."""
    torch.set_default_dtype(DOUBLE)
    model = build_model("ivlp", clip)
    objective = build_objective(model, lr=0.5, steps=2, second_order=second_order)
    (episode,) = map(exactly, build_episodes(clip, model.learner).draw([0]))
    _, prompts, regulator = objective.gradients(episode)
    torch.set_default_dtype(torch.float32)
    return {**prompts, **{f"regulator {name}": value for name, value in regulator.items()}}


def everything() -> dict[str, dict[str, torch.Tensor]]:
    clip = build_small_clip(DOUBLE)
    found = {
        f"{learner} under {trainer}": trained(clip, learner, trainer, 7)
        for learner in models()
        for trainer in TRAINERS.names()
        if learner in UNDER_ALL or trainer in ("erm", "prometar")
    }
    found["a batch that is not divided"] = trained(clip, "cocoop", "erm", 1)
    found["text in chunks"] = in_chunks(clip)
    for second_order in (False, True):
        found[f"meta-gradients {second_order=}"] = meta_gradients(clip, second_order)
    return {
        case: {name: value.detach().clone() for name, value in values.items()}
        for case, values in found.items()
    }


if __name__ == "__main__":
    import_built_in()
    folder, rank = Path(sys.argv[1]), os.environ["RANK"]
    if rank == "0":
        torch.save(everything(), folder / "alone.pt")
    with parallel.processes(cuda=False):
        torch.save(everything(), folder / f"{rank}.pt")
