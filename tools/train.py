"""Train prompts and evaluate them, or evaluate trained ones: one run of one configuration."""

import argparse
import sys
from pathlib import Path

import _checkout  # noqa: F401

from softprompt.core.base.cli import KEY, TRUST, command


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="example: python tools/train.py --config-file configs/prometar/tiny.yaml SEED 2",
    )
    parser.add_argument("--config-file", default="", help="what to run: method and backbone")
    parser.add_argument("--dataset-config-file", default="", help="the dataset, if not there")
    parser.add_argument("--root", help="DATASET.ROOT, the folder that holds the datasets")
    parser.add_argument("--output-dir", help="OUTPUT_DIR, where the run is written")
    parser.add_argument("--seed", type=int, help="SEED")
    parser.add_argument(
        "--resume",
        nargs="?",
        const="",
        metavar="RUN",
        help="continue the run in RUN, or in --output-dir",
    )
    parser.add_argument("--eval-only", action="store_true", help="evaluate, train nothing")
    parser.add_argument("--model-dir", default="", metavar="RUN", help="the run to evaluate")
    parser.add_argument("--load-epoch", type=int, default=0, help="its epoch; default: the last")
    parser.add_argument("--trust-plugins", action="store_true", help=TRUST)
    parser.add_argument("options", nargs="*", metavar="KEY VALUE", help="any configuration key")
    return parser.parse_intermixed_args(_resume_apart(arguments))


def _resume_apart(arguments: list[str]) -> list[str]:
    """Keep ``--resume`` from reading a KEY that follows it as its folder."""
    apart = list(arguments)
    for index, word in enumerate(arguments[:-1]):
        follows = arguments[index + 1]
        if word == "--resume" and KEY.fullmatch(follows) and not Path(follows).exists():
            apart[index] = "--resume="
    return apart


def sources(given: argparse.Namespace) -> tuple[str, dict]:
    """Return the file of a run's own settings, "" if there is none, and the keys set by flags."""
    output_dir = given.resume or given.output_dir
    run = given.model_dir if given.eval_only else output_dir if given.resume is not None else ""
    own_file = ""
    if not given.config_file and run and Path(run, "config.yaml").is_file():
        own_file, output_dir = str(Path(run, "config.yaml")), output_dir or ""
    flags = {"DATASET.ROOT": given.root, "SEED": given.seed, "OUTPUT_DIR": output_dir}
    return own_file, {key: value for key, value in flags.items() if value is not None}


@command("interrupted; --resume goes on after the last checkpoint")
def main(arguments: list[str]) -> int:
    given = parse(arguments)
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
