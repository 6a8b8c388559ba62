"""Meta-train prompts and a gradient regulator on captioned pictures, for the trainer gram."""

import argparse
import sys
from pathlib import Path

import _checkout  # noqa: F401

from softprompt.core.base.cli import TRUST, command


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="example: python tools/meta_train.py --config-file configs/gram/meta_tiny.yaml "
        "--output-dir META SEED 2",
    )
    parser.add_argument("--config-file", default="", help="learner, backbone and META")
    parser.add_argument("--root", help="META.PAIRS.ROOT, the folder that the source is relative to")
    parser.add_argument("--output-dir", help="OUTPUT_DIR, where the run is written")
    parser.add_argument("--seed", type=int, help="SEED")
    parser.add_argument("--resume", action="store_true", help="continue the run in --output-dir")
    parser.add_argument("--trust-plugins", action="store_true", help=TRUST)
    parser.add_argument("options", nargs="*", metavar="KEY VALUE", help="any configuration key")
    return parser.parse_intermixed_args(arguments)


@command("interrupted; --resume continues after the last validation")
def main(arguments: list[str]) -> int:
    given = parse(arguments)
    from softprompt.core.base.log import log_to_console
    from softprompt.core.base.parallel import processes
    from softprompt.core.config.saved import SavedSettings
    from softprompt.core.meta.config import load_meta_config
    from softprompt.core.meta.run import meta_train

    log_to_console()
    own, saved = Path(given.output_dir or "", "config.yaml"), None
    if given.resume and not given.config_file and given.output_dir and own.is_file():
        saved = SavedSettings(own, trust_plugins=given.trust_plugins, own_places=True)
    flags = {"META.PAIRS.ROOT": given.root, "SEED": given.seed, "OUTPUT_DIR": given.output_dir}
    flags = {key: value for key, value in flags.items() if value is not None}
    cfg = load_meta_config(given.config_file, flags, given.options, saved)
    with processes(cfg.USE_CUDA):
        meta_train(cfg, resume=given.resume)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
