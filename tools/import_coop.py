"""Turn a checkpoint of CoOp's code, or of those built on it, into a run; and its YAML into ours.

Known are CoOp, CoCoOp, KgCoOp, ProGrad, MaPLe, IVLP, VPT, PromptSRC and ProMetaR. CHECKPOINT is a
file such as output/.../prompt_learner/model.pth.tar-50, or the folder of the official run. It is
read without running what is pickled in it. The flags and KEY VALUE pairs are those of the official
command line, so it can be pasted behind CHECKPOINT; only --output-dir must name a new folder. What
cannot be carried over is printed.
"""

import argparse
import sys
from pathlib import Path

import _checkout  # noqa: F401
import yaml

from softprompt.core.base.cli import command

EPILOG = """\
examples:
  python tools/import_coop.py output/eurosat/CoOp/rn50_16shots/nctx16_cscFalse_ctpend/seed1 \\
    --output-dir RUN --trainer CoOp --config-file configs/trainers/CoOp/rn50.yaml \\
    --dataset-config-file configs/datasets/eurosat.yaml TRAINER.COOP.N_CTX 16 DATASET.NUM_SHOTS 16
  python tools/train.py --eval-only --model-dir RUN --root DATA
  python tools/import_coop.py --config-only our.yaml --trainer MaPLe --config-file official.yaml \\
    DATASET.NAME EuroSAT

A checkpoint tells lengths, depths and CSC by itself. It does not tell the backbone, unless it holds
all of CLIP, nor where the class name stands (TRAINER.COOP.CLASS_TOKEN_POSITION) nor the words that
are left of CTX_INIT; these come from the YAML file and the pairs, or are the method's usual ones.
"""


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        usage="import_coop.py [CHECKPOINT] [options] [KEY VALUE ...]",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config-file", default="", help="the method's official YAML")
    parser.add_argument("--dataset-config-file", default="", help="the dataset's official YAML")
    parser.add_argument("--trainer", default="", help="the official trainer, if it is not clear")
    parser.add_argument("--backbone", help="MODEL.BACKBONE.NAME")
    parser.add_argument("--root", help="DATASET.ROOT, to be written to the run's configuration")
    parser.add_argument("--seed", type=int, help="SEED")
    parser.add_argument("--load-epoch", type=int, default=0, help="its epoch; default: the last")
    parser.add_argument(
        "--classnames",
        metavar="FILE",
        help="the class names it was trained on, one a line; default: those of the dataset that "
        "DATASET.SUBSAMPLE_CLASSES says. Only class-specific contexts (CSC) cannot do without",
    )
    parser.add_argument("--output-dir", default="", metavar="RUN", help="where the run is written")
    parser.add_argument(
        "--config-only", metavar="FILE", help="write our YAML to FILE; there is no CHECKPOINT"
    )
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    given = parser.parse_intermixed_args(arguments)
    given.checkpoint = "" if given.config_only or not given.words else given.words.pop(0)
    return given


def official_keys(given: argparse.Namespace) -> tuple[dict, dict]:
    """Return what files, flags and pairs set, in the official order, and the pairs alone."""
    from softprompt.core.config.load import paired
    from softprompt.core.coop.config import read_official
    from softprompt.core.coop.settings import literal

    keys = {}
    for file in (given.dataset_config_file, given.config_file):
        keys |= read_official(file) if file else {}
    flags = {
        "TRAINER.NAME": given.trainer or None,
        "MODEL.BACKBONE.NAME": given.backbone,
        "DATASET.ROOT": given.root,
        "SEED": given.seed,
    }
    pairs = {key: literal(text) for key, text in paired(given.words).items()}
    return keys | {key: value for key, value in flags.items() if value is not None} | pairs, pairs


def import_run(given: argparse.Namespace) -> None:
    """Write the run of ``given.checkpoint``, and print what of it was left out."""
    from softprompt.core.base.errors import UserError
    from softprompt.core.base.log import log_to_file, logger
    from softprompt.core.config.load import load_config
    from softprompt.core.coop.config import check_known
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
    from softprompt.core.coop.tensors import sort_names
    from softprompt.core.engine import checkpoint
    from softprompt.core.engine.build import build_learner
    from softprompt.core.engine.checkpoint import prompt_header
    from softprompt.core.engine.run_folder import run_folder, write_config

    if not given.checkpoint:
        raise UserError("give the CHECKPOINT to import, or --config-only FILE; --help tells more")
    keys, pairs = official_keys(given)
    file = find_checkpoint(Path(given.checkpoint).expanduser(), given.load_epoch)
    tensors, epoch = read_checkpoint(file)
    method, how = choose_method(
        keys.get("TRAINER.NAME", ""), tensors, keys, [file, Path(given.config_file or file)]
    )
    check_known(method, pairs)
    shapes = {name: value.shape for name, value in tensors.items()}
    keys["MODEL.BACKBONE.NAME"] = keys.get("MODEL.BACKBONE.NAME") or backbone_with(shapes)
    names = sort_names(method, tensors)
    trained = {ours: tensors[theirs] for ours, theirs in names.trained.items()}
    ours, lines = configuration(method, keys, bool(given.config_file), trained, epoch)
    cfg = load_config(flags=ours | {"OUTPUT_DIR": given.output_dir})
    backbone = cfg.MODEL.BACKBONE.NAME
    check_backbone(backbone, tensors, file)
    classnames = names_of_classes(cfg, shapes, given.classnames, given.root or "")
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
        logger.info(f"left out: {listed(left)}: {reason}")
    if names.unknown:
        logger.warning(
            f"NOT KNOWN, so left out: {listed(names.unknown)}; the official result may differ"
        )
    report(lines, bool(given.config_file), method)
    if not classnames:
        logger.info("no class names are recorded: the checkpoint has none, and no dataset was here")
    logger.info(
        f"written to {folder}; evaluate it with python tools/train.py --eval-only "
        f"--model-dir {folder}{'' if given.root else ' --root DATA'}"
    )
    logger.removeHandler(handler)
    handler.close()


def write_config_file(given: argparse.Namespace) -> None:
    """Write our YAML for an official one, and print what of it was left out."""
    from softprompt.core.base.errors import UserError
    from softprompt.core.base.log import logger
    from softprompt.core.config.load import load_config
    from softprompt.core.config.yaml_files import tree_of
    from softprompt.core.coop.config import check_known
    from softprompt.core.coop.importing import choose_method, configuration
    from softprompt.core.coop.outline import outline
    from softprompt.core.engine.build import build_learner

    keys, pairs = official_keys(given)
    places = [Path(given.config_file)] if given.config_file else []
    method, how = choose_method(keys.get("TRAINER.NAME", ""), {}, keys, places)
    check_known(method, pairs)
    ours, lines = configuration(method, keys, bool(given.config_file), {}, None)
    cfg = load_config(flags=ours)
    build_learner(cfg, outline(cfg.MODEL.BACKBONE.NAME), ())  # the backbone must allow its prompts
    file = Path(given.config_only)
    plain = {key: list(v) if isinstance(v, tuple) else v for key, v in sorted(ours.items())}
    text = f"# {method}, from the official settings.\n" + yaml.safe_dump(tree_of(plain))
    try:
        with open(file, "x", encoding="utf-8") as opened:
            opened.write(text)
    except FileExistsError:
        raise UserError(f"{file} is there already; give another --config-only FILE") from None
    except OSError as error:
        raise UserError(f"cannot write {file}: {error.strerror}") from None
    report(lines, bool(given.config_file), f"{method}{', ' + how if how else ''}")
    logger.info(f"written to {file}; train with python tools/train.py --config-file {file}")


def report(lines: list[str], from_yaml: bool, method: str) -> None:
    from softprompt.core.base.log import logger

    if not from_yaml:
        logger.info(f"no --config-file: what is not given is as in the usual YAML of {method}")
    for line in lines:
        logger.info(f"not carried over: {line}")


def listed(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 4 else f"{names[0]} and {len(names) - 1} others"


@command()
def main(arguments: list[str]) -> int:
    given = parse(arguments)
    from softprompt.core.base.log import log_to_console
    from softprompt.core.base.plugins import import_built_in

    log_to_console()
    import_built_in()
    if given.config_only:
        write_config_file(given)
    else:
        import_run(given)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
