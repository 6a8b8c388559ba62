"""Measure training steps, evaluation and start-up against what the official code computes.

Every row runs in processes of its own: one in which both take turns, for seconds and operations,
and one for each, for memory. Weights are random. Seconds on the CPU are processor time, which other
work on the machine hardly changes.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import _checkout  # noqa: F401
from _bench_cases import BACKBONES, ROWS
from _bench_growth import CURVES, fitted, plot
from _bench_machine import machine
from _bench_measure import child
from _bench_table import curves_table, table

from softprompt.core.base.cli import command

QUICK = (10,)  # classes


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="example: python tools/benchmark.py --output-dir output/benchmark --rows quick "
        "--methods coop maple",
    )
    parser.add_argument("--output-dir", type=Path, required=True, help="benchmark.json and .md")
    parser.add_argument("--methods", nargs="+", choices=[*ROWS], metavar="ROW", help="some rows")
    parser.add_argument("--classes", nargs="+", type=count, help="instead of those of --rows")
    parser.add_argument(
        "--rows",
        choices=("quick", "full", "growth"),
        default="quick",
        help=f"quick: {QUICK[0]} classes; full: those of the table; growth: curves, ours alone",
    )
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each at most")
    parser.add_argument(
        "--seconds", type=float, default=60, help="begin no further run of a row after so many"
    )
    parser.add_argument(
        "--size", choices=[*BACKBONES], default="vit_b16", help="of the backbone; tiny: a trial"
    )
    parser.add_argument("--threads", type=count, default=1)
    parser.add_argument(
        "--precision", choices=("fp32", "bf16", "fp16"), default="fp32", help="ours; theirs is fp32"
    )
    parser.add_argument("--no-reference", action="store_true", help="run ours alone")
    given = parser.parse_args(arguments)
    if given.rows == "growth" and (given.methods or given.classes):
        parser.error("--rows growth has rows and classes of its own; leave out the others")
    given.methods = given.methods or [*ROWS]
    return given


def count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


@command("interrupted; what was measured is in the output folder")
def main(arguments: list[str]) -> int:
    given = parse(arguments)
    given.output_dir.mkdir(parents=True, exist_ok=True)
    file = given.output_dir / "benchmark.json"
    found = {"rows": {}, "growth": {}}
    how = {key: getattr(given, key) for key in ("size", "threads", "precision")}
    how["machine"] = machine()
    if file.exists():
        found = read(file, how)
    found |= how
    for key, measure in measurements(given):
        print(key, file=sys.stderr, flush=True)
        found["growth" if given.rows == "growth" else "rows"][key] = measure()
        file.write_text(json.dumps(found, indent=1))
    text = table(found)
    if found["growth"]:
        curves = fitted(found["growth"])
        text += "\n" + curves_table(curves)
        plot(curves, given.output_dir / "growth.png")
    (given.output_dir / "benchmark.md").write_text(text)
    print(text)
    return 0


def read(file: Path, how: dict) -> dict:
    """Return what a file holds, which shares a table with what is measured now.

    Raises:
        UserError: it was not measured in this way, or is no such file.
    """
    from softprompt.core.base.errors import UserError

    try:
        found = json.loads(file.read_text())
        different = [key for key, value in how.items() if found[key] != value]
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"{file} is not of this version of the benchmark; choose another --output-dir"
        ) from None
    for key in different:
        raise UserError(
            f"{file} was measured with {key} {found[key]}, not {how[key]}; "
            "choose another --output-dir"
        )
    return found


def measurements(given: argparse.Namespace):
    """Yield the name of each row and a function that measures it."""
    common = {"repeats": given.repeats, "budget": given.seconds}
    if given.rows == "growth":
        for curve, (row, points) in CURVES.items():
            for value, classes, settings in points:
                request = {"row": row, "classes": classes, "settings": settings} | common
                yield (
                    f"{curve} {value}",
                    lambda request=request: ask("time", given, variants=["ours"], **request),
                )
        return
    for name in given.methods:
        for classes in given.classes or (QUICK if given.rows == "quick" else ROWS[name].classes):
            yield f"{name} {classes}", lambda n=name, c=classes: measure_row(given, n, c, common)


def measure_row(given: argparse.Namespace, name: str, classes: int, common: dict) -> dict:
    base, slope = ROWS[name].gigabytes
    needed = base + slope * classes
    variants = ["ours", "reference"]
    left_out = ""
    if given.no_reference:
        left_out = "not asked for"
    elif given.size == "vit_b16" and needed > free_gigabytes():
        left_out = f"needs about {needed:.0f} GB"
    if left_out:
        variants.remove("reference")
    row = {"row": name, "classes": classes, "settings": []}
    found = ask("time", given, variants=variants, **row, **common)
    for variant in variants:
        memory = ask("memory", given, variant=variant, **row)
        found.setdefault(variant, {})["memory"] = memory
    return found | {"left_out": left_out}


def free_gigabytes() -> float:
    """Memory that is left on this machine, as Linux says it; elsewhere as much as one likes."""
    info = Path("/proc/meminfo")
    if not info.exists():
        return float("inf")
    fields = dict(line.split(":") for line in info.read_text().splitlines())
    return int(fields["MemAvailable"].split()[0]) / 2**20


def ask(measure: str, given: argparse.Namespace, **request) -> dict:
    """Measure in a process of its own."""
    from softprompt.core.base.errors import UserError

    request |= {"measure": measure, "threads": given.threads, "size": given.size}
    request["precision"] = given.precision
    with tempfile.TemporaryFile("w+") as errors:
        done = subprocess.run(
            [sys.executable, __file__, "--child", json.dumps(request)],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        if done.returncode == 0:
            return json.loads(done.stdout.splitlines()[-1])
        errors.seek(0)
        said = errors.read().splitlines()
    reason = said[-1] if said else f"it ended with code {done.returncode}, perhaps for memory"
    raise UserError(f"row {request['row']} at {request['classes']} classes: {reason}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2])
        sys.exit(0)
    sys.exit(main(sys.argv[1:]))
