"""Check that a dataset is on the disk as published and that every picture can be decoded."""

import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

from softprompt.core.base.errors import UserError
from softprompt.core.base.registry import DATASETS
from softprompt.core.data.dataset import Item, missing_files
from softprompt.core.data.sources import SOURCES

AT_ONCE = 64  # pictures that a process is given at a time


class Finding(NamedTuple):
    """The result for one dataset, which is in order if ``wrong`` is empty."""

    name: str
    classes: int
    counts: tuple[int, ...]  # pictures listed in train, val and test
    missing: list[str]
    undecodable: list[str] | None  # None: not checked
    wrong: str
    note: str = ""


def check(name: str, root: Path, decode: bool = True, jobs: int = 0) -> Finding:
    """Check one dataset.

    Args:
        root: the folder that holds all datasets.
        decode: also read every picture, which takes minutes for a large dataset.
        jobs: processes that read; 0: one per processor.
    """
    entry = SOURCES[name]
    try:
        dataset = DATASETS[name](root)
        listed = dataset.listed()
    except UserError as error:
        return Finding(name, 0, (0, 0, 0), [], None, str(error))
    paths = dict.fromkeys(item.path for item in chain(*listed.values()))
    missing = missing_files(dataset.image_dir, (Item(path, 0) for path in paths))
    gone = set(missing)
    present = [path for path in paths if path not in gone]
    undecodable = unreadable(dataset.reader(), present, name, jobs) if decode else None
    counts = tuple(len(items) for items in listed.values())
    wrong = []
    if missing:
        wrong.append(f"{len(missing):,} pictures are missing")
    if undecodable:
        wrong.append(f"{len(undecodable):,} pictures cannot be decoded")
    standard = not dataset.note.startswith("non-standard")
    if standard and len(dataset.classnames) != entry.classes:
        wrong.append(f"{len(dataset.classnames)} classes, not {entry.classes}")
    if standard and counts != entry.counts:
        wrong.append(f"published are {' / '.join(f'{count:,}' for count in entry.counts)}")
    return Finding(
        name,
        len(dataset.classnames),
        counts,
        [str(dataset.image_dir / path) for path in missing],
        undecodable,
        "; ".join(wrong),
        dataset.note,
    )


def unreadable(read: Callable, paths: list[str], name: str, jobs: int = 0) -> list[str]:
    """Return an error for each picture that cannot be decoded, using several processes."""
    from tqdm import tqdm

    jobs = jobs or os.cpu_count() or 1
    parts = iter(paths)
    chunks = list(iter(lambda: list(islice(parts, AT_ONCE)), []))
    lines = []
    pool = ProcessPoolExecutor(min(jobs, max(1, len(chunks))), initializer=_ignore_interrupts)
    try:
        with tqdm(total=len(paths), desc=name, disable=not sys.stderr.isatty()) as bar:
            answers = pool.map(_read, [read] * len(chunks), chunks)
            for chunk, errors in zip(chunks, answers, strict=True):
                lines += errors
                bar.update(len(chunk))
    except BrokenProcessPool:
        raise UserError(
            f"{name}: a process that read pictures died, perhaps for want of memory"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)
    return lines


def _ignore_interrupts() -> None:
    """Leave Ctrl-C to the parent process, which reports it in one line."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _read(read: Callable, paths: list[str]) -> list[str]:
    errors = []
    for path in paths:
        try:
            read(path)
        except UserError as error:
            errors.append(str(error))
    return errors
