"""Classify pictures by the prompts of a run."""

import argparse
import glob
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import _checkout  # noqa: F401

from softprompt.core.base.cli import TRUST, Parser, at_least, command, parse_with_pairs
from softprompt.core.base.escape import one_line
from softprompt.core.base.say import complain, say

if TYPE_CHECKING:
    from torch import Tensor

    from softprompt.core.engine.predictor import Prediction


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(
        description=__doc__,
        epilog="example: python tools/predict.py RUN photos/ 'more/*.jpg' --classes bird dog; "
        "the exit code is 2 if a picture cannot be read",
    )
    parser.add_argument("run", metavar="RUN", help="folder of a run, or a prompts.safetensors file")
    parser.add_argument(
        "pictures", nargs="+", metavar="IMAGE", help="a picture, a folder of them, or a pattern"
    )
    parser.add_argument(
        "--classes", nargs="+", default=[], help="to choose from; default: those trained on"
    )
    parser.add_argument("--top", type=at_least(1), default=5, help="classes to print per picture")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--set",
        nargs="*",
        default=[],
        metavar="KEY VALUE",
        help="changes of the run's configuration, such as MODEL.BACKBONE.PRETRAINED FILE",
    )
    parser.add_argument("--trust-plugins", action="store_true", help=TRUST)
    given = parse_with_pairs(parser, arguments)
    given.options += given.set
    return given


def files(words: list[str]) -> list[str]:
    """Return the files that the words name: pictures, those in folders, and matches of patterns.

    Raises:
        UserError: a folder holds no pictures, or a pattern matches nothing.
    """
    from softprompt.core.base.errors import UserError
    from softprompt.core.data.pictures import is_picture, walk

    named = []
    for word in words:
        if os.path.isdir(word):
            below = (here / name for here, _, names in walk(Path(word)) for name in names)
            pictures = (place for place in below if is_picture(place.name) and place.is_file())
            matched = list(map(str, sorted(pictures)))
        elif glob.has_magic(word) and not os.path.exists(word):
            matched = [m for m in sorted(glob.glob(word, recursive=True)) if os.path.isfile(m)]
        else:
            matched = [word]
        if not matched:
            raise UserError(f"{word} matches no picture")
        named += matched
    return named


def top(probabilities: "Tensor", classnames: tuple[str, ...], count: int) -> list[dict]:
    """Return the ``count`` most probable classes, best first."""
    values, labels = probabilities.topk(min(count, len(classnames)))
    return [
        {"class": classnames[label], "probability": value}
        for value, label in zip(values.tolist(), labels.tolist(), strict=True)
    ]


def show(
    predictions: Iterable["Prediction"], classnames: tuple[str, ...], count: int, as_json: bool
) -> int:
    """Print the predictions, and an error per unreadable picture; return how many of these."""
    from tabulate import tabulate

    rows, entries, unreadable = [], [], []
    for prediction in predictions:
        if prediction.probabilities is None:
            unreadable.append(prediction.error)
            entries.append({"picture": prediction.file, "error": prediction.error})
            continue
        best = top(prediction.probabilities, classnames, count)
        entries.append({"picture": prediction.file, "classes": best})
        for rank, guess in enumerate(best):
            name = one_line(prediction.file) if rank == 0 else ""
            rows.append([name, one_line(guess["class"]), 100 * guess["probability"]])
    if as_json:
        say(json.dumps(entries, indent=1, ensure_ascii=False))
    elif rows:
        heads = ["picture", "class", "%"]
        names = [0, 1]  # of which one may look like a number
        say(tabulate(rows, heads, floatfmt=".1f", disable_numparse=names))
    for error in unreadable:
        complain(f"error: {error}")
    return len(unreadable)


@command()
def main(arguments: list[str]) -> int:
    given = parse(arguments)
    from softprompt.core.engine.predictor import Predictor

    pictures = files(given.pictures)
    predictor = Predictor(given.run, given.classes, given.options, given.trust_plugins)
    for warning in predictor.warnings:
        complain(warning)
    unreadable = show(predictor(pictures), predictor.classnames, given.top, given.json)
    return 2 if unreadable else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
