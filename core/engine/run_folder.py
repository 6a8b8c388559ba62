"""The folder of a run: choose it, check that it is free or holds this very run."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from yacs.config import CfgNode

from softprompt.core.base.errors import UserError
from softprompt.core.base.files import check_folder, write_atomically, writing_to
from softprompt.core.base.leases import acquire, owner
from softprompt.core.config.load import settings
from softprompt.core.config.saved import saved_yaml
from softprompt.core.config.schema import LATER, NOT_HASHED
from softprompt.core.config.yaml_files import flat_of
from softprompt.core.engine import results

WRITER = ".writer"  # of a run's folder: holds the lease of the process that writes there


class FolderInUse(UserError):
    """Another process writes to the folder."""


def run_folder(cfg: CfgNode, resume: bool) -> Path:
    """Return ``OUTPUT_DIR``, or by default a new folder below ``output/``.

    Raises:
        UserError: ``OUTPUT_DIR`` holds a run, unless it is this one and to be resumed.
    """
    if not cfg.OUTPUT_DIR:
        if resume:
            raise UserError("--resume needs the folder of the run: --resume --output-dir RUN")
        backbone = cfg.MODEL.BACKBONE.NAME.replace("/", "-")
        parent = Path("output", cfg.DATASET.NAME, f"{cfg.TRAINER.NAME}-{cfg.PROMPT.NAME}", backbone)
        stem = f"{cfg.DATASET.SUBSAMPLE_CLASSES}-{cfg.DATASET.NUM_SHOTS}shots-seed{cfg.SEED}"
        return new_folder(parent, stem)
    folder = Path(cfg.OUTPUT_DIR).expanduser()
    check_free(cfg, folder, resume)
    return folder


def check_free(cfg: CfgNode, folder: Path, resume: bool) -> None:
    """Raise ``UserError`` unless a folder is free, or holds this very run, to be resumed."""
    if not (resume and os.path.isfile(folder / results.FILE)):  # that one is only read
        check_folder(folder, "OUTPUT_DIR")
    occupied = folder.is_dir() and any(place.name != WRITER for place in folder.iterdir())
    if occupied and not resume:
        raise UserError(
            f"{folder} holds another run; give another --output-dir, or --resume to go on with it"
        )
    if occupied and (folder / "config.yaml").is_file():
        _check_same_run(cfg, folder)


def check_unfinished(cfg: CfgNode, folder: Path, resume: bool) -> None:
    """Check the folder again once nobody else writes there: another process may have finished.

    Raises:
        UserError: it has.
    """
    if (folder / results.FILE).exists():
        raise UserError(
            f"{folder} has been finished by another process just now; --resume shows its results"
        )
    check_free(cfg, folder, resume)


@contextmanager
def sole_writer(folder: Path) -> Iterator[Callable[[], None]]:
    """Keep other processes from writing to a run's folder, which is created if need be.

    A process that dies frees the folder, on another machine after some minutes.

    Yields:
        A function that raises ``UserError`` once the folder was removed or taken over.

    Raises:
        UserError: another process writes there, or the folder cannot be written to.
    """
    place = folder / WRITER
    with writing_to(folder):
        lease = acquire(place, lost=lambda: None)
    if lease is None:
        raise FolderInUse(
            f"{folder} is being written by {owner(place)}; wait for it, or give another "
            "--output-dir"
        )

    def confirm() -> None:
        if not lease.is_ours():
            raise UserError(
                f"{folder} was removed, or taken over by another process, while it was written; "
                "nothing more is written there"
            )

    with lease:
        done = False
        try:
            yield confirm
            done = True
        finally:
            # Nobody goes on with what is finished, and what has written nothing leaves nothing.
            with suppress(OSError):
                empty = [entry.name for entry in folder.iterdir()] == [WRITER]
                if done or empty:
                    shutil.rmtree(place)
                if empty:
                    folder.rmdir()


def new_folder(parent: Path, stem: str) -> Path:
    """Return the first of ``stem-run1``, ``stem-run2`` ... that does not exist yet.

    Raises:
        UserError: nothing can be written there.
    """
    check_folder(parent, "the default folder")
    runs = (parent / f"{stem}-run{number}" for number in range(1, 1_000_000))
    return next(run for run in runs if not run.exists())


def evaluation_folder(cfg: CfgNode) -> Path:
    """Return the folder of an evaluation, which may hold the same one, interrupted.

    Raises:
        UserError: it holds another run.
    """
    folder = Path(cfg.OUTPUT_DIR).expanduser()
    trained = any(os.path.exists(folder / name) for name in ("checkpoints", "metrics.jsonl"))
    finished = os.path.exists(folder / results.FILE)
    cut_off = os.path.isfile(folder / "config.yaml") and not finished and not trained
    return run_folder(cfg, resume=bool(cfg.OUTPUT_DIR) and cut_off)


def _check_same_run(cfg: CfgNode, folder: Path) -> None:
    """Raise ``UserError`` if the saved configuration differs in a key that is hashed."""
    file = folder / "config.yaml"
    old = flat_of(saved_yaml(file))
    new = flat_of(settings(cfg))
    ignored = {*NOT_HASHED, "PLUGINS"}  # wherever the code lies, its classes are named by others
    for key in sorted((old.keys() | new.keys()) - ignored):
        before, now = (found.get(key, LATER.get(key)) for found in (old, new))
        if before != now:
            raise UserError(
                f"{folder} holds a run with {key} {before!r}, not {now!r}; resume "
                "it with its own settings (--config-file RUN/config.yaml), or give another folder"
            )


def write_config(cfg: CfgNode, folder: Path) -> None:
    """Save the configuration as ``folder/config.yaml``."""
    write_atomically(folder / "config.yaml", cfg.dump())
