"""Pretrain the embedded CLIP, core/assets/tiny.safetensors, on generated pictures and captions."""

import argparse
import sys
from pathlib import Path

import _checkout  # noqa: F401

from softprompt.core.base.cli import Parser, at_least, command
from softprompt.core.base.files import ASSETS


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("--steps", type=at_least(1), default=2400)
    parser.add_argument("--batch", type=at_least(1), default=96, help="pairs a worker")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--warmup", type=at_least(0), default=120, help="steps until the full rate")
    parser.add_argument(
        "--pool", type=at_least(1), default=60_000, help="pictures drawn before training"
    )
    parser.add_argument(
        "--wrong", type=at_least(0), default=15, help="percent of captions that lie"
    )
    parser.add_argument("--seed", type=at_least(0), default=0)
    parser.add_argument(
        "--workers", type=at_least(1), default=2, help="processes of one thread each"
    )
    parser.add_argument("--output", type=Path, default=ASSETS / "tiny.safetensors")
    return parser.parse_args(arguments)


@command()
def main(arguments: list[str]) -> int:
    given = parse(arguments)
    from softprompt.core.base.files import check_file
    from softprompt.core.studies.pretraining import Settings, pretrain

    check_file(given.output, "--output")
    pretrain(Settings(**vars(given)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
