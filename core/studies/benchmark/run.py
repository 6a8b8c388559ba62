"""The benchmark as a whole: every row is measured in processes of its own, then tabulated.

One process runs ours and the reference in turns, for seconds and operations, and one runs each
alone, for memory.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import torch

import softprompt
from softprompt.core.base.errors import UserError
from softprompt.core.base.files import write_atomically
from softprompt.core.base.say import complain
from softprompt.core.studies.benchmark.machine import free_gigabytes, machine
from softprompt.core.studies.benchmark.operations import (
    count_step,
    counted_clip,
    operations_table,
    pairs,
)
from softprompt.core.studies.benchmark.rows import CURVES, QUICK, ROWS
from softprompt.core.studies.benchmark.table import curves_table, fit, plot, table


@dataclass(frozen=True)
class Settings:
    """What to measure, how, and where the measurements go."""

    output_dir: Path  # of benchmark.json, benchmark.md and growth.png
    rows: str  # quick, full, growth or operations
    methods: Sequence[str]  # keys of ROWS; none: all
    classes: Sequence[int] | None  # instead of those of the rows
    repeats: int  # timed runs of each at most
    seconds: float  # after which no further run of a row begins
    size: str  # a key of BACKBONES
    threads: int
    precision: str  # ours; the reference's is fp32
    no_reference: bool
    device_path: str  # whose operations are counted, one of PATHS


def run_benchmark(settings: Settings) -> str:
    """Measure what the settings ask for and return the tables of all that the folder holds.

    ``benchmark.json`` is written after every measurement, so an interrupted run loses only one.

    Raises:
        UserError: the folder holds measurements made in another way, or a measurement failed.
    """
    settings.output_dir.mkdir(parents=True, exist_ok=True)
    file = settings.output_dir / "benchmark.json"
    found: dict = {"rows": {}, "growth": {}, "operations": {}}
    how = {key: getattr(settings, key) for key in ("size", "threads", "precision")}
    how["machine"] = machine()
    if file.exists():
        found = read(file, how)
    found |= how
    place = settings.rows if settings.rows in ("growth", "operations") else "rows"
    for key, measure in measurements(settings):
        complain(key)
        found.setdefault(place, {})[key] = measure()
        write_atomically(file, json.dumps(found, indent=1))
    text = table(found)
    if found.get("operations"):
        text += "\n" + operations_table(found["operations"])
    if found["growth"]:
        curves = fit(found["growth"])
        text += "\n" + curves_table(curves)
        plot(curves, settings.output_dir / "growth.png")
    write_atomically(settings.output_dir / "benchmark.md", text)
    return text


def read(file: Path, how: dict) -> dict:
    """Return the measurements in a file, to which those made now are added.

    Args:
        how: the size, threads, precision and machine of the measurements made now.

    Raises:
        UserError: the file was measured in another way, or is no file of the benchmark.
    """
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


def measurements(settings: Settings) -> Iterator[tuple[str, Callable[[], dict]]]:
    """Yield the key of each measurement and a function that makes it."""
    if settings.rows == "operations":
        yield from operations(settings)
        return
    common = {"repeats": settings.repeats, "budget": settings.seconds}
    if settings.rows == "growth":
        for curve, (row, points) in CURVES.items():
            for x, classes, pairs in points:
                request = {"row": row, "classes": classes, "pairs": pairs, "variants": ["ours"]}
                yield f"{curve} {x}", partial(measure_apart, "time", settings, request | common)
        return
    for name in settings.methods or ROWS:
        classes = settings.classes or (QUICK if settings.rows == "quick" else ROWS[name].classes)
        for count in classes:
            yield f"{name} {count}", partial(measure_row, settings, name, count, common)


def operations(settings: Settings) -> Iterator[tuple[str, Callable[[], dict]]]:
    """Yield the same for the operations that a step of each pair of learner and trainer takes."""
    torch.set_num_threads(settings.threads)
    clip = counted_clip(settings.size, settings.precision, settings.device_path)
    for cfg, classes in product(
        pairs(settings.methods, settings.size, clip), settings.classes or QUICK
    ):
        key = f"{cfg.PROMPT.NAME} {cfg.TRAINER.NAME} {classes} {settings.device_path}"
        yield key, partial(count_step, cfg, clip, classes)


def measure_row(settings: Settings, name: str, classes: int, common: dict) -> dict:
    """Return time and memory of a row, of ours alone if memory is too short for the reference."""
    base, slope = ROWS[name].gigabytes
    needed = base + slope * classes
    variants = ["ours", "reference"]
    left_out = ""
    if settings.no_reference:
        left_out = "not asked for"
    elif settings.size == "vit_b16" and needed > free_gigabytes():
        left_out = f"needs about {needed:.0f} GB"
    if left_out:
        variants.remove("reference")
    row = {"row": name, "classes": classes, "pairs": []}
    found = measure_apart("time", settings, row | common | {"variants": variants})
    for variant in variants:
        memory = measure_apart("memory", settings, row | {"variant": variant})
        found.setdefault(variant, {})["memory"] = memory
    return found | {"left_out": left_out}


def measure_apart(measure: str, settings: Settings, request: dict) -> dict:
    """Measure time or memory in a process of its own.

    Args:
        measure: "time" or "memory", for ``measure.time_row`` or ``measure.memory_row``.
        request: the arguments of that function beside size and precision.

    Raises:
        UserError: the process failed.
    """
    how = {"measure": measure, "threads": settings.threads}
    how |= {"size": settings.size, "precision": settings.precision}
    with tempfile.TemporaryFile("w+") as errors:
        done = subprocess.run(
            [sys.executable, "-m", f"{__package__}.measure", json.dumps(how | request)],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=Path(softprompt.__file__).absolute().parents[1],  # where it finds this package
        )
        if done.returncode == 0:
            return json.loads(done.stdout.splitlines()[-1])
        errors.seek(0)
        said = errors.read().splitlines()
    reason = said[-1] if said else f"it ended with code {done.returncode}, perhaps for memory"
    raise UserError(f"row {request['row']} at {request['classes']} classes: {reason}")
