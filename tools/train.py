"""Train prompts and evaluate them, or evaluate trained ones: one run of one configuration."""

import argparse
import sys
from pathlib import Path

import _checkout  # noqa: F401

from softprompt.core.base.cli import (
    Parser,
    add_run_flags,
    at_least,
    command,
    refuse_together,
    resume_apart,
)
from softprompt.core.base.errors import UserError
from softprompt.core.base.say import say

EXAMPLE = "python tools/train.py --config-file configs/prometar/tiny.yaml"


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(
        description=__doc__,
        epilog=f"example: {EXAMPLE} SEED 2",
    )
    add_run_flags(
        parser,
        "what to run: method and backbone",
        "DATASET.ROOT, the folder that holds the datasets",
    )
    parser.add_argument("--dataset-config-file", default="", help="the dataset, if not there")
    parser.add_argument("--eval-only", action="store_true", help="evaluate, train nothing")
    parser.add_argument("--model-dir", default="", metavar="RUN", help="the run to evaluate")
    parser.add_argument(
        "--load-epoch", type=at_least(0), default=0, help="its epoch; default: the last"
    )
    parser.add_argument(
        "--init-from",
        metavar="RUN",
        help="TRAIN.INIT_FROM, the run whose prompts this training starts from",
    )
    return parser.parse_intermixed_args(resume_apart(arguments))


def check_flags(given: argparse.Namespace) -> None:
    """Raise ``UserError`` for flags that do not fit together, or say too little to begin."""
    if given.eval_only:
        refuse_together(given, "--eval-only", "--init-from")
        if given.resume is not None:
            raise UserError("--resume would do nothing beside --eval-only; leave one out")
        if given.load_epoch and not given.model_dir:
            raise UserError("--load-epoch N needs --model-dir RUN, the run whose epoch it is")
    elif given.model_dir or given.load_epoch:
        flag = "--model-dir" if given.model_dir else "--load-epoch"
        raise UserError(
            f"{flag} belongs to --eval-only; to train on, --resume RUN goes on with a run, and "
            "--init-from RUN starts another one from its prompts"
        )
    if given.resume and given.output_dir and Path(given.resume) != Path(given.output_dir):
        raise UserError(
            f"--resume {given.resume} goes on in that folder, so --output-dir {given.output_dir} "
            "would do nothing; leave it out"
        )


def check_enough(given: argparse.Namespace) -> None:
    """Raise ``UserError`` if no file and no saved run say what to do, and the pairs do not either.

    What is missing depends on what was asked for.
    """
    named = {f"{component}.NAME" for component in ("DATASET", "PROMPT", "TRAINER")}
    if given.config_file or named <= {*given.options[::2]}:
        return
    resumed = given.resume or given.output_dir if given.resume is not None else ""
    for flag, run in (("--resume", resumed), ("--model-dir", given.model_dir)):
        if run and not Path(run).exists():
            raise UserError(f"{flag} {run}: there is no such run; give the folder of one")
        if run and Path(run, "config.yaml").is_file():
            return
        if run:
            raise UserError(
                f"{flag} {run} holds no config.yaml, so say what it is a run of: --config-file "
                f"FILE, such as {EXAMPLE.split()[-1]}"
            )
    if given.eval_only:
        raise UserError(
            "--eval-only needs the run to evaluate, --model-dir RUN; CLIP without training is "
            "evaluated by --eval-only --config-file configs/zeroshot/tiny.yaml"
        )
    if given.resume is not None:
        raise UserError("--resume needs the folder of the run: --resume RUN")
    raise UserError(f"nothing says what to train: give --config-file FILE, such as {EXAMPLE}")


def sources(given: argparse.Namespace) -> tuple[str, dict]:
    """Return the file of a run's own settings, "" if there is none, and the keys set by flags."""
    output_dir = given.resume or given.output_dir
    run = given.model_dir if given.eval_only else output_dir if given.resume is not None else ""
    own_file = ""
    if not given.config_file and run and Path(run, "config.yaml").is_file():
        own_file, output_dir = str(Path(run, "config.yaml")), output_dir or ""
    flags = {"DATASET.ROOT": given.root, "SEED": given.seed, "OUTPUT_DIR": output_dir}
    if given.init_from is not None:  # absolute: a resumed run finds it from any folder
        flags["TRAIN.INIT_FROM"] = str(Path(given.init_from).expanduser().absolute())
    return own_file, {key: value for key, value in flags.items() if value is not None}


@command("interrupted; --resume goes on after the last checkpoint")
def main(arguments: list[str]) -> int:
    given = parse(arguments)
    check_flags(given)
    check_enough(given)
    from softprompt.core.base.log import log_to_console
    from softprompt.core.base.parallel import processes
    from softprompt.core.config.load import load_config
    from softprompt.core.config.saved import SavedSettings

    log_to_console()
    own_file, flags = sources(given)
    saved = None
    if own_file:
        trust, resumed = given.trust_plugins, not given.eval_only
        saved = SavedSettings(own_file, trust_plugins=trust, own_places=resumed)
    files = given.config_file, given.dataset_config_file
    cfg = load_config(*files, flags, given.options, saved)
    if given.print_config:
        say(cfg.dump(), end="")
        return 0
    # It imports torch, which takes a second, so mistakes are reported before.
    from softprompt.core.engine.run import evaluate, train

    with processes(cfg.USE_CUDA):
        if given.eval_only:
            # A method's file names the class sets to report after training; here only a pair does.
            asked = cfg.TEST.CLASSES if "TEST.CLASSES" in given.options[::2] else ()
            evaluate(cfg, given.model_dir, given.load_epoch, asked)
        else:
            train(cfg, resume=given.resume is not None)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
