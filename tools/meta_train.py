"""Meta-train prompts and a gradient regulator on captioned pictures, for the trainer gram."""

import argparse
import sys
from pathlib import Path

import _checkout  # noqa: F401

from softprompt.core.base.cli import Parser, add_run_flags, command, resume_apart
from softprompt.core.base.errors import UserError
from softprompt.core.base.say import say

EXAMPLE = "python tools/meta_train.py --config-file configs/gram/meta_tiny.yaml"


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(
        description=__doc__,
        epilog=f"example: {EXAMPLE} --output-dir META SEED 2",
    )
    add_run_flags(
        parser,
        "learner, backbone and META",
        "META.PAIRS.ROOT, the folder that the source is relative to",
    )
    return parser.parse_intermixed_args(resume_apart(arguments))


@command("interrupted; --resume continues after the last validation")
def main(arguments: list[str]) -> int:
    given = parse(arguments)
    if given.resume and given.output_dir and Path(given.resume) != Path(given.output_dir):
        raise UserError(
            f"--resume {given.resume} goes on in that folder, so --output-dir {given.output_dir} "
            "would do nothing; leave it out"
        )
    folder, resume = given.resume or given.output_dir, given.resume is not None
    if not given.config_file and not resume and "PROMPT.NAME" not in given.options[::2]:
        raise UserError(
            f"nothing says what to meta-train: give --config-file FILE, such as {EXAMPLE}"
        )
    from softprompt.core.base.log import log_to_console
    from softprompt.core.base.parallel import processes
    from softprompt.core.config.saved import SavedSettings
    from softprompt.core.meta.config import load_meta_config
    from softprompt.core.meta.run import meta_train

    log_to_console()
    own, saved = Path(folder or "", "config.yaml"), None
    if resume and not given.config_file:
        if not folder:
            raise UserError("--resume needs the folder of the run: --resume RUN")
        if not own.is_file():
            raise UserError(f"--resume {folder}: there is no run, which would have a config.yaml")
        saved = SavedSettings(own, trust_plugins=given.trust_plugins, own_places=True)
    flags = {"META.PAIRS.ROOT": given.root, "SEED": given.seed, "OUTPUT_DIR": folder}
    flags = {key: value for key, value in flags.items() if value is not None}
    cfg = load_meta_config(given.config_file, flags, given.options, saved)
    if given.print_config:
        say(cfg.dump(), end="")
        return 0
    with processes(cfg.USE_CUDA):
        meta_train(cfg, resume=resume)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
