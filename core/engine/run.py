"""One run from a configuration: train and report, or evaluate what was trained."""

import json
from pathlib import Path

from yacs.config import CfgNode

from softprompt.core.base import parallel
from softprompt.core.base.errors import UserError
from softprompt.core.base.log import logger
from softprompt.core.base.seeding import seed_of
from softprompt.core.data.fewshot import list_sha256
from softprompt.core.engine import checkpoint, results
from softprompt.core.engine.build import build_trainer
from softprompt.core.engine.loop import fit
from softprompt.core.engine.memory import start_measuring
from softprompt.core.engine.optim import Optim
from softprompt.core.engine.recorder import open_run
from softprompt.core.engine.run_folder import evaluation_folder, run_folder
from softprompt.core.engine.scoring import evaluate_run
from softprompt.core.engine.session import Session
from softprompt.core.engine.shared import Shared
from softprompt.core.engine.tensorboard_summary import TensorBoardSummary
from softprompt.core.prompts.base import PromptLearner


def train(cfg: CfgNode, *, resume: bool = False, shared: Shared | None = None) -> dict:
    """Train, evaluate and return the results, which also stand in the run's ``results.json``.

    Args:
        resume: go on with the run in ``OUTPUT_DIR``, from its last finished epoch.
        shared: what other runs of this process have made already; give all of them the same.

    Raises:
        UserError: what the user can mend; nothing of an earlier run is written over.
    """
    folder = run_folder(cfg, resume)
    if resume and (folder / results.FILE).is_file():
        return _finished(folder)

    start_measuring()
    # Whatever can be found wrong is found before the folder is made.
    session = Session(cfg, shared)
    classes = cfg.DATASET.SUBSAMPLE_CLASSES
    tested = cfg.TEST.CLASSES or (classes,)
    session.check_test(tested)
    items = session.training_items()
    batches = session.training_batches(items)
    learner = session.learner(session.classnames(classes))
    for subset in tested:
        learner.for_classes(session.classnames(subset))
    model = session.model(learner, classes)
    trainer = build_trainer(cfg, model)
    trainer.prepare(Optim.from_config(cfg.OPTIM))

    board = TensorBoardSummary(folder, cfg.TEST.TENSORBOARD)
    with open_run(cfg, folder), board:
        session.describe()
        logger.info(
            f"training {cfg.PROMPT.NAME} under {cfg.TRAINER.NAME} on {len(items)} images "
            f"of {'all' if classes == 'all' else f'the {classes}'} classes, seed {cfg.SEED}, "
            f"to {folder}"
        )
        if session.views:
            logger.info(f"{session.views} fixed views a picture, each encoded once")
        if trainer.note:
            logger.info(f"{cfg.TRAINER.NAME}: {trainer.note}")
        seconds = fit(
            trainer,
            batches,
            folder=folder,
            seed=seed_of(cfg, "TRAINER"),
            meta=checkpoint.prompt_header(cfg, learner, model.classnames),
            print_every=cfg.TRAIN.PRINT_FREQ,
            keep_every=cfg.TRAIN.CHECKPOINT_FREQ,
        )
        name = f"{cfg.PROMPT.NAME} under {cfg.TRAINER.NAME}"
        found = evaluate_run(session, learner, tested, name, board)
        board.compare(cfg, found)
        found["trained_parameters"] = sum(value.numel() for value in model.params().values())
        found["train"] = {
            "classes": classes,
            "images": len(items),
            "epochs": cfg.OPTIM.MAX_EPOCH,
            "views": session.views or "another one each epoch",
            "list_sha256": list_sha256(session.drawn, session.dataset.classnames),
        }
        if trainer.note:
            found["train"]["note"] = trainer.note
        found["seconds"]["train"] = seconds
        if parallel.is_main_process():
            results.write(folder, found)
            checkpoint.finish(folder / "checkpoints")
        logger.info(f"finished: {folder / results.FILE}")
    return found


def evaluate(
    cfg: CfgNode,
    model_dir: str = "",
    epoch: int = 0,
    subsets: tuple[str, ...] = (),
    *,
    shared: Shared | None = None,
) -> dict:
    """Evaluate a run's prompts, or CLIP with a learner that learns nothing; nothing is trained.

    The results go to ``model_dir/eval/<dataset>-<class sets>/`` unless ``OUTPUT_DIR`` is set.

    Args:
        model_dir: folder of a finished or interrupted run.
        epoch: evaluate the prompts of this epoch; 0: of the last one.
        subsets: class sets to report; (): DATASET.SUBSAMPLE_CLASSES, as in CoOp.
        shared: as for ``train``.
    """
    start_measuring()
    classes = cfg.DATASET.SUBSAMPLE_CLASSES
    tested = subsets or (() if model_dir else cfg.TEST.CLASSES) or (classes,)
    run = Path(model_dir).expanduser()
    if model_dir:
        file = checkpoint.find_prompts(run, epoch)
        tensors, header = checkpoint.load_prompts(file)
        _check_header(cfg, header, file)
    if model_dir and not cfg.OUTPUT_DIR:
        name = f"{cfg.DATASET.NAME}-{'-'.join(tested)}"
        folder = (run if run.is_dir() else run.parent) / "eval" / name
    else:
        folder = evaluation_folder(cfg)

    session = Session(cfg, shared)
    session.check_test(tested)
    if model_dir:
        learner = session.learner(tuple(header["classnames"]))
        checkpoint.load_into(learner, tensors, file)
        for subset in tested:
            learner.for_classes(session.classnames(subset))
        source = f"{file}, epoch {header['epoch']}"
        name = f"{cfg.PROMPT.NAME} under {header['trainer']}"
    else:
        learner = session.learner(session.classnames(classes))
        _check_nothing_trained(cfg, learner)
        source = "CLIP without training"
        name = cfg.PROMPT.NAME

    board = TensorBoardSummary(folder, cfg.TEST.TENSORBOARD)
    with open_run(cfg, folder), board:
        session.describe()
        logger.info(f"evaluating {source}")
        found = evaluate_run(session, learner, tested, name, board)
        found["prompts"] = source
        if parallel.is_main_process():
            results.write(folder, found)
        logger.info(f"finished: {folder / results.FILE}")
    return found


def _finished(folder: Path) -> dict:
    found = json.loads((folder / results.FILE).read_text())
    if parallel.is_main_process():
        checkpoint.finish(folder / "checkpoints")
    logger.info(f"{folder} is finished already; its results:")
    logger.info(results.table(found["results"], found["harmonic_mean"]))
    return found


def _check_header(cfg: CfgNode, header: dict, file: Path) -> None:
    """Raise ``UserError`` where the configuration is not the one that the prompts are for."""
    for key, given, saved in (
        ("MODEL.BACKBONE.NAME", cfg.MODEL.BACKBONE.NAME, header["backbone"]["name"]),
        ("PROMPT.NAME", cfg.PROMPT.NAME.lower(), header["learner"]),
    ):
        if given != saved:
            raise UserError(f"{file} was trained with {key} {saved!r}, not {given!r}")


def _check_nothing_trained(cfg: CfgNode, learner: PromptLearner) -> None:
    if any(True for _ in learner.parameters()):
        raise UserError(
            f"--eval-only needs --model-dir RUN, the run whose {cfg.PROMPT.NAME} prompts to "
            "evaluate; only what has nothing to train, such as zeroshot, needs none"
        )
