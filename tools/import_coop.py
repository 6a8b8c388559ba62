"""Turn a checkpoint of CoOp's code, or of those built on it, into a run; and its YAML into ours.

Known are CoOp, CoCoOp, KgCoOp, ProGrad, MaPLe, IVLP, VPT, PromptSRC and ProMetaR; of ZeroshotCLIP
and ZeroshotCLIP2, which have no checkpoint, the command of ours is printed. CHECKPOINT is a file
such as output/.../prompt_learner/model.pth.tar-50, or the folder of the official run. It is read
without running what is pickled in it. The flags and KEY VALUE pairs are those of the official
command line, so it can be pasted behind CHECKPOINT; only --output-dir must name a new folder. That
of a test names the checkpoint itself, as --model-dir. What cannot be carried over is printed.
"""

import argparse
import sys
from pathlib import Path

import _checkout  # noqa: F401

from softprompt.core.base.cli import Parser, at_least, command, refuse_together, split_pairs

EPILOG = """\
examples:
  python tools/import_coop.py output/eurosat/CoOp/rn50_16shots/nctx16_cscFalse_ctpend/seed1 \\
    --output-dir RUN --trainer CoOp --config-file configs/trainers/CoOp/rn50.yaml \\
    --dataset-config-file configs/datasets/eurosat.yaml TRAINER.COOP.N_CTX 16 DATASET.NUM_SHOTS 16
  python tools/train.py --eval-only --model-dir RUN --root DATA
  python tools/import_coop.py --trainer MaPLe --config-file official.yaml --output-dir RUN \\
    --dataset-config-file configs/datasets/eurosat.yaml --model-dir output/eurosat/MaPLe/seed1 \\
    --load-epoch 5 --eval-only DATASET.SUBSAMPLE_CLASSES new
  python tools/import_coop.py --config-only our.yaml --trainer MaPLe --config-file official.yaml \\
    DATASET.NAME EuroSAT

A checkpoint tells lengths, depths and CSC by itself. It does not tell the backbone, unless it holds
all of CLIP, nor where the class name stands (TRAINER.COOP.CLASS_TOKEN_POSITION) nor the words that
are left of CTX_INIT; these come from the YAML file and the pairs, or are the method's usual ones.
"""


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(
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
    parser.add_argument("--seed", type=at_least(0), help="SEED")
    parser.add_argument("--transforms", nargs="+", default=[], help="INPUT.TRANSFORMS")
    parser.add_argument("--model-dir", default="", metavar="CHECKPOINT", help="the same")
    parser.add_argument(
        "--load-epoch", type=at_least(0), default=0, help="its epoch; default: the last"
    )
    parser.add_argument(
        "--eval-only",
        action="store_true",
        help="the dataset and classes are those to test on, not those it was trained on",
    )
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
    idle = "accepted, without effect: the reason is printed"
    for flag in ("--resume", "--head"):
        parser.add_argument(flag, metavar="...", help=idle)
    for flag in ("--source-domains", "--target-domains"):
        parser.add_argument(flag, nargs="+", metavar="...", help=idle)
    parser.add_argument("--no-train", action="store_true", help=idle)
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    words, pairs = split_pairs(arguments)  # a flag of many words would take the pairs, too
    given = parser.parse_intermixed_args(words)
    given.checkpoint = given.model_dir
    if given.words and not (given.config_only or given.model_dir):
        given.checkpoint = given.words.pop(0)
    given.words += pairs
    return given


@command()
def main(arguments: list[str]) -> int:
    given = parse(arguments)
    from softprompt.core.base.errors import UserError
    from softprompt.core.base.files import check_file
    from softprompt.core.base.log import log_to_console
    from softprompt.core.base.plugins import import_built_in
    from softprompt.core.coop.command import IDLE_FLAGS, OfficialCommand
    from softprompt.core.coop.convert import import_config, import_run, log_zero_shot

    if given.config_only:
        refuse_together(given, "--config-only", "--output-dir", "--load-epoch", "--classnames")
        check_file(Path(given.config_only).expanduser(), "--config-only")
    log_to_console()
    import_built_in()
    command = OfficialCommand(
        given.config_file,
        given.dataset_config_file,
        given.trainer,
        given.backbone,
        given.root,
        given.seed,
        tuple(given.transforms),
        given.eval_only,
        tuple(flag for flag in IDLE_FLAGS if getattr(given, flag)),
        tuple(given.words),
    )
    if given.config_only:
        import_config(command, Path(given.config_only))
    elif given.checkpoint:
        import_run(command, given.checkpoint, given.output_dir, given.load_epoch, given.classnames)
    elif command.trainer:
        log_zero_shot(command, given.output_dir)
    else:
        raise UserError("give the CHECKPOINT to import, or --config-only FILE; --help tells more")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
