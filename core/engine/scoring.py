"""Evaluate a run on its class sets: the contents of ``results.json`` but for the training."""

import time
from datetime import datetime, timezone
from typing import Any

import torch

from softprompt.core.base.log import log_lines, logger
from softprompt.core.base.seeding import STREAMS, seed_of
from softprompt.core.clip.activation import activation_of
from softprompt.core.config.load import config_hash, settings
from softprompt.core.data.fewshot import choose_classes
from softprompt.core.engine import results
from softprompt.core.engine.evaluate import predict, score, score_generalized
from softprompt.core.engine.session import Session
from softprompt.core.engine.tensorboard_summary import TensorBoardSummary
from softprompt.core.prompts.base import PromptLearner
from softprompt.core.prompts.templates import templates_of
from softprompt.core.prompts.zeroshot import ZeroShot


def evaluate_run(
    session: Session,
    learner: PromptLearner,
    subsets: tuple[str, ...],
    name: str,
    summary: TensorBoardSummary,
) -> dict[str, Any]:
    """Evaluate on each class set, log the table and return the contents of ``results.json``.

    Args:
        name: the learner's row in the table.
        summary: gets the figures that TEST.TENSORBOARD asks for.
    """
    began, cfg = time.perf_counter(), session.cfg
    scores: dict[str, dict[str, dict]] = {}
    templates = templates_of(session.dataset, cfg.TEST.TEMPLATES)
    sampled = {}
    for subset in subsets:
        names = session.classnames(subset)
        if cfg.TEST.MAX_IMAGES:
            total = len(choose_classes(session.splits[cfg.TEST.SPLIT], session.labels(subset)))
            sampled[subset] = f"{len(session.test_items(subset))} of {total} images"
        models = {name: session.model(learner, subset)}
        if cfg.TEST.ZERO_SHOT:
            zero_shot = ZeroShot(session.clip, names, templates=templates)
            models = {results.ZERO_SHOT: session.model(zero_shot, subset), **models}
        logits, labels = predict(models, session.tested_by(models.values(), subset))
        summary.plot(session, subset, models[name], logits[name], labels)
        measure = score_generalized if subset == "generalized" else score
        for model in models:
            scores.setdefault(model, {})[subset] = measure(logits[model], labels, names)
    means = {}
    if {"base", "new"} <= set(subsets):
        means = {
            model: results.harmonic_mean(by_set["base"]["accuracy"], by_set["new"]["accuracy"])
            for model, by_set in scores.items()
        }
    log_lines(results.table(scores, means))
    for warning in session.warnings():
        logger.warning(warning)
    return {
        "format": results.FORMAT,
        "dataset": cfg.DATASET.NAME,
        "prompt": cfg.PROMPT.NAME,
        "trainer": cfg.TRAINER.NAME,
        "backbone": {
            "name": session.clip.name,
            "weights": session.clip.weights,
            "activation": activation_of(session.clip.model),
        },
        "seed": cfg.SEED,
        "seeds": {stream: seed_of(cfg, stream) for stream in STREAMS},
        "shots": cfg.DATASET.NUM_SHOTS,
        "split": {"name": cfg.TEST.SPLIT, "note": session.dataset.note},
        "sampled": sampled,
        "zero_shot_templates": list(templates),
        "results": scores,
        "harmonic_mean": means,
        "warnings": session.warnings(),
        "config": settings(cfg),
        "config_hash": config_hash(cfg),
        "environment": results.environment(),
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "seconds": {"evaluate": time.perf_counter() - began},
        "threads": torch.get_num_threads(),
        "peak_memory": results.peak_memory(),
    }
