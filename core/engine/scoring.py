"""What evaluating a run has found: the scores of each class set, and all that goes beside them."""

import time

from softprompt.core.base.log import logger
from softprompt.core.base.seeding import STREAMS, seed_of
from softprompt.core.config.load import config_hash, settings
from softprompt.core.data.fewshot import choose_classes
from softprompt.core.engine import results
from softprompt.core.engine.evaluate import predict, score, score_generalized
from softprompt.core.engine.memory import peak_memory
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
    board: TensorBoardSummary,
) -> dict:
    """Evaluate on each class set, print the table and return all but the training's part.

    Args:
        name: what the table calls the learner's prompts.
        board: where figures of them are drawn.
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
            plain = ZeroShot(session.clip, names, templates=templates)
            models = {results.ZERO_SHOT: session.model(plain, subset), **models}
        logits, labels = predict(models, session.tested_by(models.values(), subset))
        board.draw(session, subset, models[name], logits[name], labels)
        measure = score_generalized if subset == "generalized" else score
        for model in models:
            scores.setdefault(model, {})[subset] = measure(logits[model], labels, names)
    means = {}
    if {"base", "new"} <= set(subsets):
        means = {
            model: results.harmonic_mean(by_set["base"]["accuracy"], by_set["new"]["accuracy"])
            for model, by_set in scores.items()
        }
    logger.info(results.table(scores, means))
    for warning in session.warnings():
        logger.warning(warning)
    return {
        "format": 1,
        "dataset": cfg.DATASET.NAME,
        "prompt": cfg.PROMPT.NAME,
        "trainer": cfg.TRAINER.NAME,
        "backbone": {"name": session.clip.name, "weights": session.clip.weights},
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
        "seconds": {"evaluate": time.perf_counter() - began},
        "peak_memory": peak_memory(),
    }
