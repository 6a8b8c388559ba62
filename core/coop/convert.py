"""From an official run to a run of ours, and from official YAML files to one of ours.

What cannot be carried over is logged.
"""

import shlex
from pathlib import Path

import yaml

from softprompt.core.base.errors import UserError
from softprompt.core.base.files import writing_to
from softprompt.core.base.log import log_to_file, logger
from softprompt.core.config.load import load_config
from softprompt.core.config.schema import defaults
from softprompt.core.config.values import value_at
from softprompt.core.config.yaml_files import tree_of
from softprompt.core.coop.command import OfficialCommand
from softprompt.core.coop.config import check_known, lacking, our_dataset
from softprompt.core.coop.defaults import ZERO_SHOT
from softprompt.core.coop.files import find_checkpoint, trained_subset
from softprompt.core.coop.importing import (
    check_backbone,
    choose_method,
    class_count,
    configuration,
    names_of_classes,
    read_prompts,
)
from softprompt.core.coop.outline import backbone_with, outline
from softprompt.core.coop.reading import read_checkpoint
from softprompt.core.coop.tensors import sort_names
from softprompt.core.engine import checkpoint
from softprompt.core.engine.build import build_learner
from softprompt.core.engine.prompt_file import prompt_header
from softprompt.core.engine.run_folder import run_folder, sole_writer, write_config


def import_run(
    command: OfficialCommand,
    given: str,
    output_dir: str = "",
    load_epoch: int = 0,
    classnames_file: str | None = None,
) -> Path:
    """Write a run of ours with the prompts of an official checkpoint, and return its folder.

    Args:
        given: the checkpoint file, or the folder of the official run.
        output_dir: the folder to write; "": the one that the configuration leads to.
        load_epoch: the checkpoint's epoch if ``given`` is a folder; 0: the last.
        classnames_file: the class names it was trained on, one a line; None: those of the dataset.

    Raises:
        UserError: there is no such checkpoint, it does not fit the command, or the folder is taken.
    """
    keys = command.keys()
    file = find_checkpoint(Path(given).expanduser(), load_epoch)
    tensors, epoch = read_checkpoint(file)
    method, how = choose_method(
        keys.get("TRAINER.NAME", ""), tensors, keys, [file, Path(command.config_file or file)]
    )
    check_known(method, command.pair_values())
    shapes = {name: value.shape for name, value in tensors.items()}
    keys["MODEL.BACKBONE.NAME"] = keys.get("MODEL.BACKBONE.NAME") or backbone_with(shapes)
    tested = str(keys.get("DATASET.SUBSAMPLE_CLASSES", "all"))
    elsewhere = False
    if command.eval_only:
        dataset = our_dataset(str(keys.get("DATASET.NAME", "")))
        subset = trained_subset(dataset, command.root or "", class_count(shapes), tested)
        keys["DATASET.SUBSAMPLE_CLASSES"], elsewhere = subset or tested, not subset
    names = sort_names(method, tensors)
    trained = {ours: tensors[theirs] for ours, theirs in names.trained.items()}
    ours, lines = configuration(method, keys, bool(command.config_file), trained, epoch)
    cfg = load_config(flags=ours | {"OUTPUT_DIR": output_dir})
    backbone = cfg.MODEL.BACKBONE.NAME
    check_backbone(backbone, tensors, file)
    classnames = names_of_classes(
        cfg, shapes, classnames_file or "", command.root or "", elsewhere=elsewhere
    )
    learner = build_learner(cfg, outline(backbone), classnames)
    prompts = read_prompts(tensors, names.trained, learner, file)

    folder = run_folder(cfg, resume=False)
    header = prompt_header(cfg, learner, classnames) | {"imported_from": method}
    with sole_writer(folder), writing_to(folder):
        checkpoint.save(folder / "checkpoints", epoch or 0, prompts, header, {})
        checkpoint.finish(folder / "checkpoints")
        write_config(cfg, folder)
        handler = log_to_file(folder)
    logger.info(f"{file}: {method}{', ' + how if how else ''}; backbone {backbone}; epoch {epoch}")
    for name, value in prompts.items():
        logger.info(f"  {names.trained[name]} {tuple(value.shape)} -> {name}")
    for reason, left in names.left_out.items():
        logger.info(f"left out: {_abbreviated(left)}: {reason}")
    if names.unknown:
        logger.warning(
            f"NOT KNOWN, so left out: {_abbreviated(names.unknown)}; the official result may differ"
        )
    _log_left_out(lines, command, method)
    for line in lacking(method, keys) if command.config_file else ():
        logger.info(line)
    if elsewhere and not classnames:
        logger.info(
            f"no class names are recorded: it was trained on {class_count(shapes)} classes, so not "
            f"on {cfg.DATASET.NAME}"
        )
    elif not classnames:
        logger.info("no class names are recorded: the checkpoint has none, and no dataset was here")
    other = tested != cfg.DATASET.SUBSAMPLE_CLASSES
    logger.info(
        f"written to {folder}; evaluate it with python tools/train.py --eval-only "
        f"--model-dir {shlex.quote(str(folder))}{'' if command.root else ' --root DATA'}"
        + (f" DATASET.SUBSAMPLE_CLASSES {tested}" if command.eval_only and other else "")
    )
    logger.removeHandler(handler)
    handler.close()
    return folder


def import_config(command: OfficialCommand, file: Path) -> None:
    """Write a YAML file of ours with the settings of an official command.

    Raises:
        UserError: a setting has no counterpart here, or ``file`` exists or cannot be written.
    """
    keys = command.keys()
    places = [Path(command.config_file)] if command.config_file else []
    method, how = choose_method(keys.get("TRAINER.NAME", ""), {}, keys, places)
    check_known(method, command.pair_values())
    ours, lines = configuration(method, keys, bool(command.config_file), {}, None)
    cfg = load_config(flags=ours)
    build_learner(cfg, outline(cfg.MODEL.BACKBONE.NAME), ())  # the backbone must allow its prompts
    values = {key: list(v) if isinstance(v, tuple) else v for key, v in sorted(ours.items())}
    text = f"# {method}, from the official settings.\n" + yaml.safe_dump(tree_of(values))
    try:
        with open(file, "x", encoding="utf-8") as opened:
            opened.write(text)
    except FileExistsError:
        raise UserError(f"{file} is there already; give another --config-only FILE") from None
    except OSError as error:
        raise UserError(f"cannot write {file}: {error.strerror}") from None
    _log_left_out(lines, command, f"{method}{', ' + how if how else ''}")
    for line in lacking(method, keys) if command.config_file else ():
        logger.info(line)
    evaluate = "evaluate with python tools/train.py --eval-only"
    what = evaluate if method in ZERO_SHOT else "train with python tools/train.py"
    logger.info(f"written to {file}; {what} --config-file {shlex.quote(str(file))}")


def log_zero_shot(command: OfficialCommand, output_dir: str = "") -> None:
    """Log the command of ours that evaluates what an official zero-shot trainer does.

    Raises:
        UserError: it names another trainer, or a setting has no counterpart here.
    """
    keys = command.keys()
    method, how = choose_method(keys.get("TRAINER.NAME", ""), {}, keys, [])
    if method not in ZERO_SHOT:
        raise UserError(
            f"{method} has trained prompts: give the CHECKPOINT or --model-dir that holds them, or "
            "--config-only FILE"
        )
    check_known(method, command.pair_values())
    ours, lines = configuration(method, keys, bool(command.config_file), {}, None)
    cfg, usual = load_config(flags=ours), defaults()
    _log_left_out(lines, command, f"{method}{', ' + how if how else ''}")
    words = ["python", "tools/train.py", "--eval-only"]
    words += ["--output-dir", output_dir] if output_dir else []
    for key in sorted(ours):
        if value_at(cfg, key) != value_at(usual, key):
            words += [key, str(value_at(cfg, key))]
    logger.info(f"{method} is the row 'zero-shot CLIP' of: {shlex.join(words)}")


def _log_left_out(lines: list[str], command: OfficialCommand, method: str) -> None:
    if not command.config_file:
        logger.info(f"no --config-file: what is not given is as in the usual YAML of {method}")
    for line in [*command.idle_lines(), *lines]:
        logger.info(f"not carried over: {line}")


def _abbreviated(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 4 else f"{names[0]} and {len(names) - 1} others"
