"""From an official run to a run of ours, and from official YAML files to one of ours.

What cannot be carried over is logged.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from softprompt.core.base.errors import UserError
from softprompt.core.base.log import log_to_file, logger
from softprompt.core.config.load import load_config, paired
from softprompt.core.config.yaml_files import tree_of
from softprompt.core.coop.config import check_known, read_official
from softprompt.core.coop.files import find_checkpoint
from softprompt.core.coop.importing import (
    check_backbone,
    choose_method,
    configuration,
    names_of_classes,
    read_prompts,
)
from softprompt.core.coop.outline import backbone_with, outline
from softprompt.core.coop.reading import read_checkpoint
from softprompt.core.coop.settings import literal
from softprompt.core.coop.tensors import sort_names
from softprompt.core.engine import checkpoint
from softprompt.core.engine.build import build_learner
from softprompt.core.engine.checkpoint import prompt_header
from softprompt.core.engine.run_folder import run_folder, write_config


@dataclass(frozen=True)
class OfficialCommand:
    """The flags and KEY VALUE pairs of an official command line; "" and None: not given."""

    config_file: str = ""  # the method's official YAML
    dataset_config_file: str = ""
    trainer: str = ""
    backbone: str | None = None
    root: str | None = None
    seed: int | None = None
    pairs: tuple[str, ...] = ()

    def pair_values(self) -> dict[str, Any]:
        """Return the pairs by key, their values read as the official code does."""
        return {key: literal(text) for key, text in paired(self.pairs).items()}

    def keys(self) -> dict[str, Any]:
        """Return the value of every official key that files, flags and pairs set; later ones win.

        Raises:
            UserError: a file cannot be read, or the last pair lacks its value.
        """
        keys: dict[str, Any] = {}
        for file in (self.dataset_config_file, self.config_file):
            keys |= read_official(file) if file else {}
        flags = {
            "TRAINER.NAME": self.trainer or None,
            "MODEL.BACKBONE.NAME": self.backbone,
            "DATASET.ROOT": self.root,
            "SEED": self.seed,
        }
        keys |= {key: value for key, value in flags.items() if value is not None}
        return keys | self.pair_values()


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
    names = sort_names(method, tensors)
    trained = {ours: tensors[theirs] for ours, theirs in names.trained.items()}
    ours, lines = configuration(method, keys, bool(command.config_file), trained, epoch)
    cfg = load_config(flags=ours | {"OUTPUT_DIR": output_dir})
    backbone = cfg.MODEL.BACKBONE.NAME
    check_backbone(backbone, tensors, file)
    classnames = names_of_classes(cfg, shapes, classnames_file or "", command.root or "")
    learner = build_learner(cfg, outline(backbone), classnames)
    prompts = read_prompts(tensors, names.trained, learner, file)

    folder = run_folder(cfg, resume=False)
    folder.mkdir(parents=True, exist_ok=True)
    header = prompt_header(cfg, learner, classnames) | {"imported_from": method}
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
    if not classnames:
        logger.info("no class names are recorded: the checkpoint has none, and no dataset was here")
    logger.info(
        f"written to {folder}; evaluate it with python tools/train.py --eval-only "
        f"--model-dir {folder}{'' if command.root else ' --root DATA'}"
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
    logger.info(f"written to {file}; train with python tools/train.py --config-file {file}")


def _log_left_out(lines: list[str], command: OfficialCommand, method: str) -> None:
    if not command.config_file:
        logger.info(f"no --config-file: what is not given is as in the usual YAML of {method}")
    for line in lines:
        logger.info(f"not carried over: {line}")


def _abbreviated(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 4 else f"{names[0]} and {len(names) - 1} others"
