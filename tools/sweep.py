"""Run all cells of a protocol's table: methods, datasets, shots, seeds; on one machine or many."""

import argparse
import sys
from pathlib import Path

import _checkout  # noqa: F401

from softprompt.core.base.cli import Parser, at_least, command, parse_with_pairs
from softprompt.core.base.say import say

PROTOCOLS = ("base2new", "few_shot", "cross_dataset", "domain_generalization")


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(
        description=f"{__doc__}"
        " The folders are those of tools/base2new.sh and its like. A cell that is finished is "
        "skipped, one that was cut off goes on, and several sweeps may share a folder.",
        epilog="example: python tools/sweep.py base2new --config-file configs/coop/tiny.yaml "
        "configs/maple/tiny.yaml --datasets shapes patterns --output-dir output",
    )
    parser.add_argument("protocol", choices=PROTOCOLS)
    parser.add_argument(
        "--config-file", nargs="+", required=True, metavar="FILE", help="one for each method"
    )
    parser.add_argument(
        "--datasets",
        nargs="*",
        required=True,
        metavar="DATASET",
        help="files in configs/datasets by name, or files of yours; of a transfer the source first",
    )
    parser.add_argument("--seeds", nargs="+", type=at_least(0), default=[1, 2, 3], metavar="SEED")
    parser.add_argument(
        "--shots",
        nargs="+",
        type=at_least(1),
        default=[],
        help="default: 16, for few_shot 1 2 4 8 16",
    )
    parser.add_argument("--output-dir", required=True, metavar="OUT", help="where all runs go")
    parser.add_argument("--root", help="DATASET.ROOT, the folder that holds the datasets")
    parser.add_argument("--cache", help="CACHE.DIR, a folder of features that all runs share")
    parser.add_argument("--engine", choices=("local", "ray", "slurm"), default="local")
    parser.add_argument(
        "--jobs",
        type=int,
        default=0,
        help="workers; default: one a GPU, or else as many as the cores have threads for",
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=0,
        help="of a local worker; default: OMP_NUM_THREADS, or else its share of the cores",
    )
    parser.add_argument("--address", default="", help="of a running Ray cluster, or auto")
    parser.add_argument(
        "--slurm",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="parameters of submitit, such as slurm_partition=gpu gpus_per_node=1 timeout_min=600; "
        "cluster=local tries it without Slurm",
    )
    parser.add_argument(
        "--retries",
        type=at_least(0),
        default=1,
        help="further attempts at a cell that died; default: 1",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="list the cells and what they will cost, run none"
    )
    return parse_with_pairs(parser, arguments)


def cells_of(given: argparse.Namespace) -> list:
    from softprompt.core.protocols.plans.protocols import config_path, dataset_path, plan

    return plan(
        given.protocol,
        [config_path(name) for name in given.config_file],
        [dataset_path(name) for name in given.datasets],
        output=Path(given.output_dir),
        seeds=list(dict.fromkeys(given.seeds)),
        shots=list(dict.fromkeys(given.shots)),
        root=given.root,
        cache=given.cache,
        pairs=given.options,
    )


def run_and_report(cells: list, engine, given: argparse.Namespace) -> int:
    from softprompt.core.protocols.driver import run_cells
    from softprompt.core.protocols.progress import print_failures
    from softprompt.core.protocols.report.build import build_report, render
    from softprompt.core.protocols.runs import find_runs, summary

    output = Path(given.output_dir)
    errors = run_cells(cells, engine, output, retries=given.retries, summary=summary)
    report = build_report(find_runs([cell.folder for cell in cells]))
    say(f"\n{render(report, 'text')}")
    return print_failures(errors, len(cells)) or int(bool(report.left_out))


@command("interrupted; the same command goes on")
def main(arguments: list[str]) -> int:
    given = parse(arguments)
    from softprompt.core.base.files import check_folder
    from softprompt.core.protocols.data import check_data
    from softprompt.core.protocols.engines.engine import Engine

    engine = Engine(given.engine, given.jobs, given.threads, given.address, tuple(given.slurm))
    engine.check()
    output = Path(given.output_dir).expanduser()
    check_folder(output, "--output-dir")
    if given.cache:
        check_folder(Path(given.cache).expanduser(), "--cache")
    cells = cells_of(given)
    if given.dry_run:
        from softprompt.core.protocols.cost import listing

        say(listing(cells))
    if given.engine == "local":  # other engines' machines may have what this one lacks
        check_data(cells)
    if given.dry_run:
        return 0
    return run_and_report(cells, engine, given)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
