"""Cluster captioned pictures into topics, classes and visual domains, and write a page of them."""

import argparse
import ast
import sys
from dataclasses import replace
from pathlib import Path

import _checkout  # noqa: F401

from softprompt.core.base.cli import Parser, at_least, command

CLUSTERING = Path(__file__).resolve().parents[1] / "core" / "meta" / "clusters" / "cluster.py"


def clustering_options() -> dict:
    """Return the options of ``cluster`` and their defaults from its text: an import is slow."""
    body = ast.parse(CLUSTERING.read_text(encoding="utf-8")).body
    (found,) = (n for n in body if isinstance(n, ast.FunctionDef) and n.name == "cluster")
    return {
        argument.arg: ast.literal_eval(default) if default else None
        for argument, default in zip(found.args.kwonlyargs, found.args.kw_defaults, strict=True)
    }


def parse(arguments: list[str]) -> argparse.Namespace:
    from softprompt.core.meta.pairs.sources import FORMS

    parser = Parser(
        description=__doc__,
        epilog="example: python tools/clusters.py my_pictures/captions.csv; features are cached, "
        "so other sizes are quickly tried, and meta-training with the same --cache starts at once",
    )
    parser.add_argument("source", help=FORMS)
    parser.add_argument("--root", default="", help="the folder that SOURCE is relative to")
    parser.add_argument("--max-skipped", type=float, default=0.01, help="share of unusable pairs")
    parser.add_argument("--backbone", default="tiny", help="as MODEL.BACKBONE.NAME")
    parser.add_argument(
        "--pretrained", help="as MODEL.BACKBONE.PRETRAINED; default: tiny's own, else openai"
    )
    parser.add_argument(
        "--quick-gelu",
        choices=("auto", "on", "off"),
        default="auto",
        help="as MODEL.BACKBONE.QUICK_GELU",
    )
    parser.add_argument("--cache", default="output/gram", help="the folder of what is computed")
    parser.add_argument(
        "--batch-size", type=at_least(1), default=100, help="pictures encoded at once"
    )
    parser.add_argument(
        "--workers", type=at_least(0), default=0, help="processes that read pictures"
    )
    parser.add_argument(
        "--evaluated",
        nargs="+",
        default=[],
        metavar="DATASET",
        help="look for the class names of these datasets, or folders with a folder for each class, "
        "among those of the clusters; default: of all datasets that the package knows the names of",
    )
    group = parser.add_argument_group("clustering; 0 leaves a size to the number of pairs")
    for name, default in clustering_options().items():
        flag = f"--{name.replace('_', '-')}"
        group.add_argument(flag, type=type(default), default=default, help=f"{default!r}")
    return parser.parse_args(arguments)


@command("interrupted; the same command continues from the features computed so far")
def main(arguments: list[str]) -> int:
    given = parse(arguments)
    import torch

    from softprompt.core.base.files import check_folder
    from softprompt.core.base.log import log_to_console, logger
    from softprompt.core.clip.build import TINY, build_clip
    from softprompt.core.config.check import check_value
    from softprompt.core.config.options import option_keys
    from softprompt.core.config.schema import defaults
    from softprompt.core.data.transforms import Preprocessing, evaluation_transform
    from softprompt.core.meta.clusters.cluster import cluster
    from softprompt.core.meta.corpus import prepare
    from softprompt.core.meta.pairs.sources import open_pairs

    check_folder(Path(given.cache).expanduser(), "--cache")
    log_to_console()
    options = {name: getattr(given, name) for name in clustering_options()}
    for name, key in zip(options, option_keys("", cluster), strict=True):
        check_value(replace(key, name=f"--{name.replace('_', '-')}"), options[name])
    weights = given.pretrained
    if weights is None:
        weights = TINY if given.backbone == TINY else "openai"
    pairs = open_pairs(given.source, given.root, max_skipped=given.max_skipped)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    clip = build_clip(given.backbone, weights, device=device, quick_gelu=given.quick_gelu)
    if clip.caution:
        logger.warning(clip.caution)
    node = defaults().INPUT
    transform = evaluation_transform(node.TRANSFORMS, Preprocessing.of(clip, node))
    prepare(
        clip,
        pairs,
        transform,
        Path(given.cache).expanduser(),
        batch_size=given.batch_size,
        workers=given.workers,
        evaluated=given.evaluated,
        **options,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
