"""Run all cells of a protocol's table: methods, datasets, shots, seeds; on one machine or many."""

import argparse
import os
import sys
from pathlib import Path

import _checkout  # noqa: F401

from softprompt.core.base.cli import command, split_pairs

REPOSITORY = Path(__file__).resolve().parents[1]
PROTOCOLS = ("base2new", "few_shot", "cross_dataset", "domain_generalization")


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__
        + " The folders are those of tools/base2new.sh and its like. A cell that is finished is "
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
        nargs="+",
        required=True,
        metavar="DATASET",
        help="files in configs/datasets by name, or files of yours; of a transfer the source first",
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], metavar="SEED")
    parser.add_argument(
        "--shots", nargs="+", type=int, default=[], help="default: 16, for few_shot 1 2 4 8 16"
    )
    parser.add_argument("--output-dir", required=True, metavar="OUT", help="where all runs go")
    parser.add_argument("--root", help="DATASET.ROOT, the folder that holds the datasets")
    parser.add_argument("--engine", choices=("local", "ray", "slurm"), default="local")
    parser.add_argument(
        "--jobs", type=int, default=0, help="workers; default: one a GPU, or else one a core"
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
        "--retries", type=int, default=1, help="further attempts at a cell that died; default: 1"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="list the cells and what they will cost, run none"
    )
    parser.add_argument("options", nargs="*", metavar="KEY VALUE", help="settings of all cells")
    return parser.parse_args(_options_first(arguments))


def _options_first(arguments: list[str]) -> list[str]:
    """Keep ``--datasets dtd OPTIM.LR 1`` from taking KEY VALUE pairs for datasets."""
    words, pairs = split_pairs(arguments)
    place = next((words.index(name) + 1 for name in PROTOCOLS if name in words), len(words))
    return [*words[:place], *pairs, *words[place:]]


def file_of(name: str, *places: str) -> str:
    """Return the first of these files that is there, as the shell tools look for it."""
    from softprompt.core.base.errors import UserError, closest

    for place in (Path(name).expanduser(), *(REPOSITORY / place for place in places)):
        if place.is_file():
            return str(place.absolute())
    known = sorted(file.stem for file in (REPOSITORY / "configs/datasets").glob("*.yaml"))
    if len(places) == 1:
        raise UserError(f"no config file {name!r}; it is one such as configs/coop/vit_b16.yaml")
    raise UserError(f"no dataset {name!r}{closest(name, known)}; there are {', '.join(known)}")


def cells_of(given: argparse.Namespace) -> list:
    from softprompt.core.protocols.cells import plan

    return plan(
        given.protocol,
        [file_of(name, name) for name in given.config_file],
        [file_of(name, f"configs/datasets/{name}.yaml", name) for name in given.datasets],
        output=Path(given.output_dir).expanduser(),
        seeds=list(dict.fromkeys(given.seeds)),
        shots=list(dict.fromkeys(given.shots)),
        root=given.root,
        pairs=given.options,
    )


def run(cells: list, given: argparse.Namespace) -> dict[str, str]:
    """Run what is missing; return the errors of the cells that failed, by their names."""
    from softprompt.core.protocols.drive import drive
    from softprompt.core.protocols.engines import workers_of
    from softprompt.core.protocols.progress import Progress
    from softprompt.core.protocols.queue import Queue

    queue = Queue(cells, given.retries)
    progress = Progress(queue)
    if not queue.ended:
        workers = workers_of(
            given.engine,
            given.jobs,
            address=given.address,
            options=given.slurm,
            folder=Path(given.output_dir, ".sweep", "slurm").expanduser().absolute(),
            cells=len(queue.waiting),
        )
        drive(queue, workers, progress)
    return {cell.name: queue.errors[cell.folder] for cell in cells if cell.folder in queue.errors}


def print_report(cells: list) -> None:
    from softprompt.core.protocols.report.build import build_report
    from softprompt.core.protocols.report.tabulated import as_text
    from softprompt.core.protocols.runs import find_runs

    print(f"\n{as_text(build_report(find_runs([cell.folder for cell in cells])))}")


@command("interrupted; the same command goes on")
def main(arguments: list[str]) -> int:
    given = parse(arguments)
    from softprompt.core.base.errors import UserError
    from softprompt.core.protocols.check import check_engine

    for name, least in (("jobs", 0), ("retries", 0)):
        if getattr(given, name) < least:
            raise UserError(f"--{name} is {getattr(given, name)}, but must be at least {least}")
    check_engine(given.engine, given.jobs, address=given.address, options=given.slurm)
    cells = cells_of(given)
    if given.dry_run:
        from softprompt.core.protocols.cost import listing

        print(listing(cells))
        return 0
    failed = run(cells, given)
    print_report(cells)
    if failed:
        lines = [f"  {name}: {error}" for name, error in failed.items()]
        print(f"\n{len(failed)} of {len(cells)} cells failed:", *lines, sep="\n", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of each worker, until it sets its own
    sys.exit(main(sys.argv[1:]))
