"""One run of one configuration: train and evaluate, or evaluate trained prompts."""

from functools import partial
from pathlib import Path
from typing import Any

from yacs.config import CfgNode

from softprompt.core.base import parallel
from softprompt.core.base.errors import UserError
from softprompt.core.base.files import check_folder
from softprompt.core.base.log import log_lines, logger
from softprompt.core.base.meter import Laps, processor_seconds
from softprompt.core.base.seeding import seed_of
from softprompt.core.data.fewshot import list_sha256
from softprompt.core.engine import cautions, checkpoint, results
from softprompt.core.engine.build import build_trainer
from softprompt.core.engine.contracts import check_prepared
from softprompt.core.engine.loop import fit
from softprompt.core.engine.optim import Optim
from softprompt.core.engine.prompt_file import prompt_header
from softprompt.core.engine.recorder import open_run
from softprompt.core.engine.run_folder import check_unfinished, evaluation_folder, run_folder
from softprompt.core.engine.scoring import evaluate_run
from softprompt.core.engine.session import Session
from softprompt.core.engine.shared import Shared
from softprompt.core.engine.tensorboard_summary import TensorBoardSummary
from softprompt.core.engine.trained import WarmStart, load_trained, started_from


def train(cfg: CfgNode, *, resume: bool = False, shared: Shared | None = None) -> dict[str, Any]:
    """Train, evaluate and write a run; return the contents of its ``results.json``.

    Args:
        resume: continue the run in ``OUTPUT_DIR`` after its last checkpoint.
        shared: frozen backbones, datasets and caches to reuse; pass one ``Shared`` to every run of
            a process.

    Raises:
        UserError: a mistake that the user can mend; no file of an earlier run is overwritten.
    """
    folder = run_folder(cfg, resume)
    if resume and (finished := results.read(folder, results.OF_A_RUN)) is not None:
        return _finished(cfg, folder, finished)

    # Everything that can be wrong is checked before the folder is created.
    results.start_measuring()
    began, before = processor_seconds(), shared.meter.shared if shared else 0.0
    session = Session(cfg, shared)
    laps = Laps(session.meter, began, before)
    trained_on = cfg.DATASET.SUBSAMPLE_CLASSES
    subsets = cfg.TEST.CLASSES or (trained_on,)
    session.check_test(subsets)
    items = session.training_items()
    batches = session.training_batches(items)
    names = session.classnames(trained_on)
    learner = session.learner(names)
    session.check_learner(learner, names, (trained_on, *subsets))
    start = started_from(folder) if resume else None  # a checkpoint holds what came of it
    warm = WarmStart(cfg, learner, names) if cfg.TRAIN.INIT_FROM and start is None else None
    model = session.model(learner, trained_on)
    trainer = build_trainer(cfg, model)
    trainer.prepare(Optim.from_config(cfg.OPTIM))
    check_prepared(trainer)
    said = cautions.of_training(items, model.classnames, cfg.DATASET.NUM_SHOTS, trainer.optim)
    said += cautions.of_settings(cfg, len(items))
    if warm:
        warm.check(trainer)
        trainer.warnings += warm.cautions()
        start = warm.said
    summary = TensorBoardSummary(folder, cfg.TEST.TENSORBOARD)

    with open_run(cfg, folder, partial(check_unfinished, cfg, folder, resume)) as confirm, summary:
        session.describe(model, training=True)
        logger.info(
            f"training {cfg.PROMPT.NAME} under {cfg.TRAINER.NAME} on {len(items)} images of "
            f"{'all' if trained_on == 'all' else f'the {trained_on}'} classes, seed {cfg.SEED}, "
            f"to {folder}"
        )
        for warning in said:
            logger.warning(warning)
        if session.views:
            logger.info(f"{session.views} fixed views a picture, each encoded once")
        if start:
            logger.info(f"the prompts start from {start}")
        if trainer.note:
            logger.info(f"{cfg.TRAINER.NAME}: {trainer.note}")
        begun = (folder / "checkpoints").is_dir()
        laps.end("prepare")
        seconds = fit(
            trainer,
            batches,
            folder=folder,
            seed=seed_of(cfg, "TRAINER"),
            meta=prompt_header(cfg, learner, model.classnames)
            | ({"init_from": start} if start else {}),
            print_every=cfg.TRAIN.PRINT_FREQ,
            keep_every=cfg.TRAIN.CHECKPOINT_FREQ,
            save_every=cfg.TRAIN.CHECKPOINT_STEPS,
            confirm=confirm,
        )
        laps.end("train")
        name = f"{cfg.PROMPT.NAME} under {cfg.TRAINER.NAME}"
        contents = evaluate_run(session, learner, subsets, name, summary)
        summary.compare(contents)
        contents["warnings"] += said + trainer.warnings
        contents["trained_parameters"] = sum(value.numel() for value in model.params().values())
        contents["train"] = {
            "classes": trained_on,
            "images": len(items),
            "epochs": cfg.OPTIM.MAX_EPOCH,
            "views": session.views or "another one each epoch",
            "list_sha256": list_sha256(session.few_shot_items, session.dataset.classnames),
        }
        if start:
            contents["train"]["init_from"] = start
        if trainer.note:
            contents["train"]["note"] = trainer.note
        contents["seconds"]["train"] = seconds
        laps.end("evaluate")
        contents["processor_seconds"] = laps.found()
        if begun:  # what was spent before the interruption is not known
            del contents["processor_seconds"]["train"]
        if parallel.is_main_process():
            confirm()
            results.write(folder, contents)
            checkpoint.finish(folder / "checkpoints", cfg.TRAIN.CHECKPOINT_FREQ)
        logger.info(f"finished: {folder / results.FILE}")
    return contents


def evaluate(
    cfg: CfgNode,
    model_dir: str = "",
    epoch: int = 0,
    subsets: tuple[str, ...] = (),
    *,
    shared: Shared | None = None,
) -> dict[str, Any]:
    """Evaluate a run's prompts, or CLIP with a learner that has no parameters; train nothing.

    The results go to ``model_dir/eval/<dataset>-<class sets>/`` unless ``OUTPUT_DIR`` is set to
    another folder than the run's own.

    Args:
        model_dir: folder of a finished or interrupted run.
        epoch: evaluate the prompts of this epoch; 0: of the last one.
        subsets: class sets to report; (): DATASET.SUBSAMPLE_CLASSES, as in CoOp.
        shared: as for ``train``.

    Raises:
        UserError: there are no such prompts, or they do not fit the configuration.
    """
    results.start_measuring()
    began, before = processor_seconds(), shared.meter.shared if shared else 0.0
    run = Path(model_dir).expanduser()
    saved = load_trained(cfg, run, epoch) if model_dir else None
    trained_on = cfg.DATASET.SUBSAMPLE_CLASSES
    subsets = subsets or (() if saved else cfg.TEST.CLASSES) or (trained_on,)
    own_place = not cfg.OUTPUT_DIR or _same_folder(run, Path(cfg.OUTPUT_DIR).expanduser())
    if saved and own_place:
        parent = run if run.is_dir() else run.parent
        folder = parent / "eval" / f"{cfg.DATASET.NAME}-{'-'.join(subsets)}"
        check_folder(folder, "the folder of the results (OUTPUT_DIR)")
    else:
        folder = evaluation_folder(cfg)

    session = Session(cfg, shared)
    laps = Laps(session.meter, began, before)
    session.check_test(subsets)
    said: list[str] = []
    if saved:
        file, tensors, header = saved
        trained = run if run.is_dir() else run.parent
        said = cautions.of_split(session.dataset.note, cfg.DATASET.NAME, trained)
        names = tuple(header["classnames"])
        learner = session.learner(names)
        checkpoint.load_into(learner, tensors, file)
        session.check_learner(learner, names, subsets)
        source = f"{file}, epoch {header['epoch']}"
        name = f"{cfg.PROMPT.NAME} under {header['trainer']}"
    else:
        learner = session.learner(session.classnames(trained_on))
        if any(True for _ in learner.parameters()):
            raise UserError(
                f"--eval-only needs --model-dir RUN, the run whose {cfg.PROMPT.NAME} prompts to "
                "evaluate; only what has nothing to train, such as zeroshot, needs none"
            )
        source = "CLIP without training"
        name = cfg.PROMPT.NAME

    summary = TensorBoardSummary(folder, cfg.TEST.TENSORBOARD)
    with open_run(cfg, folder) as confirm, summary:
        session.describe(session.model(learner, subsets[0]), training=False)
        for warning in said:
            logger.warning(warning)
        logger.info(f"evaluating {source}")
        laps.end("prepare")
        contents = evaluate_run(session, learner, subsets, name, summary)
        laps.end("evaluate")
        contents["processor_seconds"] = laps.found()
        contents["warnings"] += said
        contents["prompts"] = source
        if parallel.is_main_process():
            confirm()
            results.write(folder, contents)
        logger.info(f"finished: {folder / results.FILE}")
    return contents


def _same_folder(run: Path, folder: Path) -> bool:
    """Whether the folder to write to is that of the run, as it is after ``train(cfg)``."""
    return run.is_dir() and folder.is_dir() and run.samefile(folder)


def _finished(cfg: CfgNode, folder: Path, contents: dict[str, Any]) -> dict[str, Any]:
    """Print and return the results of a run that was to be resumed, but is complete."""
    if parallel.is_main_process():
        checkpoint.finish(folder / "checkpoints", cfg.TRAIN.CHECKPOINT_FREQ)
    logger.info(f"{folder} is finished already; its results:")
    log_lines(results.table(contents["results"], contents["harmonic_mean"]))
    return contents
