"""One meta-training from a configuration: prepare, train, write the resulting file."""

import time
from functools import partial
from pathlib import Path
from typing import Any

from yacs.config import CfgNode

from softprompt.core.base import parallel
from softprompt.core.base.errors import UserError
from softprompt.core.base.files import check_folder
from softprompt.core.base.log import logger
from softprompt.core.base.seeding import seed_of, seeded
from softprompt.core.clip.activation import activation_of
from softprompt.core.clip.build import configured_clip, warnings_of
from softprompt.core.clip.frozen import FrozenCLIP
from softprompt.core.clip.prompted import prompts_images
from softprompt.core.config.load import config_hash, settings
from softprompt.core.config.options import options_from
from softprompt.core.data.decoding import Decoding
from softprompt.core.data.transforms import Preprocessing, evaluation_transform, training_transform
from softprompt.core.engine import results
from softprompt.core.engine.build import build_learner
from softprompt.core.engine.recorder import open_run
from softprompt.core.engine.run_folder import check_unfinished, new_folder, run_folder
from softprompt.core.meta import learned, state
from softprompt.core.meta.config import section
from softprompt.core.meta.corpus import Corpus, open_corpus, samplers
from softprompt.core.meta.episodes import Episodes
from softprompt.core.meta.loop import Outer, meta_fit
from softprompt.core.meta.objective import Objective, calibrated_rate
from softprompt.core.meta.pairs.sources import GENERATED, place_of
from softprompt.core.meta.regulator import Regulator, token_rows
from softprompt.core.prompts.base import PromptLearner

ANY_CLASSES = ("thing", "other thing")  # a learner is built for some classes; here any will do


def meta_train(cfg: CfgNode, *, resume: bool = False) -> dict[str, Any]:
    """Meta-train, write ``gram.safetensors``, and return the content of ``results.json``.

    Args:
        resume: continue the run in ``OUTPUT_DIR`` from its last validation.

    Raises:
        UserError: the user can mend it; nothing of an earlier run is overwritten.
    """
    folder = _folder(cfg, resume)
    if resume and (finished := results.read(folder, results.OF_META_TRAINING)) is not None:
        logger.info(f"{folder} is finished already: {folder / learned.FILE}")
        if parallel.is_main_process():
            state.finish(folder)
        return finished
    outer = Outer(**section(cfg, "OUTER"))
    check_folder(Path(cfg.META.PAIRS.CACHE).expanduser(), "META.PAIRS.CACHE")
    if cfg.META.PAIRS.SOURCE.partition(":")[0] != GENERATED:
        place_of(cfg.META.PAIRS.SOURCE, cfg.META.PAIRS.ROOT)  # before the run's folder is made
    clip = configured_clip(cfg)
    learner = _learner(cfg, clip)
    with seeded(cfg.SEED, "regulator"):
        rows = token_rows(learner, clip)
        regulator = Regulator(rows, clip.dim, **section(cfg, "REGULATOR")).to(clip.device)
    objective = Objective(clip, learner, regulator, **section(cfg, "INNER"))

    with open_run(cfg, folder, partial(check_unfinished, cfg, folder, resume)) as confirm:
        began = time.perf_counter()
        _describe(cfg, objective)
        preprocessing, decoding = Preprocessing.of(clip, cfg.INPUT), Decoding.of(cfg.INPUT)
        with parallel.rank_by_rank():
            clustering = section(cfg, "CLUSTER")
            corpus = open_corpus(clip, preprocessing, decoding, clustering, **section(cfg, "PAIRS"))
        training, held_out = _episodes(cfg, objective, corpus, preprocessing)
        prepared = time.perf_counter() - began
        if objective.steps and not objective.lr:
            objective.lr = calibrated_rate(objective, held_out.draw(range(outer.val_tasks)))
        progress = meta_fit(objective, outer, training, held_out, folder, confirm)
        found = _results(cfg, objective, corpus, progress)
        found["seconds"] = {"prepare": prepared, "meta_train": progress.seconds}
        if parallel.is_main_process():
            confirm()
            about = {key: found[key] for key in ("options", "inner_lr", "step", "validations")}
            about |= {"config": settings(cfg), "pairs": found["pairs"]}
            learned.save(folder / learned.FILE, learner, regulator, clip, about)
            results.write(folder, found)
            state.finish(folder)
        _report(folder, found)
    return found


def _folder(cfg: CfgNode, resume: bool) -> Path:
    if cfg.OUTPUT_DIR or resume:
        return run_folder(cfg, resume)
    backbone = cfg.MODEL.BACKBONE.NAME.replace("/", "-")
    parent = Path("output", "gram", f"meta-{cfg.PROMPT.NAME}", backbone)
    return new_folder(parent, f"seed{cfg.SEED}")


def _learner(cfg: CfgNode, clip: FrozenCLIP) -> PromptLearner:
    """Return the learner to meta-train; a ``UserError`` unless it can serve any classes."""
    learner = build_learner(cfg, clip, ANY_CLASSES)
    if not any(True for _ in learner.parameters()):
        raise UserError(f"PROMPT.NAME {cfg.PROMPT.NAME} has nothing to meta-learn")
    try:
        same = learner.for_classes(ANY_CLASSES[:1]) is learner
    except UserError:
        same = False
    if not same:
        raise UserError(
            f"the prompts of {cfg.PROMPT.NAME} with these options belong to classes, but every "
            "task has classes of its own; PROMPT.COOP.CSC must be False"
        )
    return learner


def _episodes(
    cfg: CfgNode, objective: Objective, corpus: Corpus, preprocessing: Preprocessing
) -> tuple[Episodes, Episodes]:
    """Return training and held-out episodes; only training pictures are augmented, if read."""
    clip, node = objective.clip, cfg.INPUT
    augment = evaluate = None
    if prompts_images(objective.learner, clip):
        augment = training_transform(node.TRANSFORMS, preprocessing, node.RRCROP_SCALE)
        evaluate = evaluation_transform(node.TRANSFORMS, preprocessing)
    build = partial(
        Episodes,
        pairs=corpus.pairs,
        features=corpus.features,
        seed=seed_of(cfg, "INPUT"),
        workers=corpus.workers,
        device=clip.device,
    )
    training, held_out = samplers(corpus.hierarchy, cfg.SEED, **section(cfg, "TASKS"))
    return build(training, transform=augment), build(held_out, transform=evaluate)


def _describe(cfg: CfgNode, objective: Objective) -> None:
    clip = objective.clip
    logger.info(
        f"backbone {clip.name}, weights {clip.weights}, {activation_of(clip.model)}, "
        f"{cfg.MODEL.PRECISION} on {clip.device}"
    )
    for warning in warnings_of(clip, ()):
        logger.warning(warning)
    regulated = set(objective.regulator.keys) if objective.regulator.functions else set()
    tensors = dict(objective.learner.named_parameters())
    order = "second" if objective.second_order else "first"
    how = f"{objective.steps} inner steps, {order} order" if objective.steps else "no inner steps"
    logger.info(
        f"meta-training {cfg.PROMPT.NAME}: {sum(v.numel() for v in tensors.values())} numbers in "
        f"{len(tensors)} tensors, {len(regulated)} of them regulated by {objective.regulator.form} "
        f"({sum(v.numel() for v in objective.regulator.parameters())} numbers); {how}, "
        f"seed {cfg.SEED}"
    )


def _results(
    cfg: CfgNode, objective: Objective, corpus: Corpus, progress: state.Progress
) -> dict[str, Any]:
    """Return the content of ``results.json``, but for the times."""
    clip, hierarchy = objective.clip, corpus.hierarchy
    return {
        "format": results.FORMAT,
        "prompt": cfg.PROMPT.NAME,
        "options": options_from(cfg, "PROMPT"),
        "backbone": {
            "name": clip.name,
            "weights": clip.weights,
            "activation": activation_of(clip.model),
        },
        "seed": cfg.SEED,
        "pairs": {"source": cfg.META.PAIRS.SOURCE, "total": hierarchy.total},
        "sizes": vars(hierarchy.sizes),
        "clusters_page": str(corpus.page),
        "inner_lr": objective.lr,
        "steps": progress.step,
        "step": progress.best_step,
        "validations": progress.validations,
        "warnings": warnings_of(clip, ()),
        "config_hash": config_hash(cfg),
        "environment": results.environment(),
    }


def _report(folder: Path, found: dict[str, Any]) -> None:
    by_step = {each["step"]: each for each in found["validations"]}
    start, best = by_step[0], by_step[found["step"]]
    logger.info(
        f"held-out topics: loss {start['loss']:.4f} at the start, {best['loss']:.4f} after step "
        f"{best['step']}, which is kept; accuracy on the same classes "
        f"{start['accuracy_same']:.1f} -> {best['accuracy_same']:.1f}%, on other classes "
        f"{start['accuracy_other']:.1f} -> {best['accuracy_other']:.1f}%"
    )
    logger.info(
        f"finished: {folder / learned.FILE}; train with it by TRAINER.NAME gram "
        f"TRAINER.GRAM.FILE {folder / learned.FILE}"
    )
