"""What a run writes while it goes on: log.txt, metrics.jsonl, TensorBoard, the progress line."""

import json
import logging
import sys
import time
from datetime import timedelta
from pathlib import Path

from softprompt.core.base.errors import UserError

logger = logging.getLogger("softprompt")


def log_to_console() -> None:
    if not any(isinstance(handler, logging.StreamHandler) for handler in logger.handlers):
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


def log_to_file(folder: Path) -> logging.Handler:
    handler = logging.FileHandler(folder / "log.txt", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logger.addHandler(handler)
    return handler


class Recorder:
    """Numbers of every step to ``metrics.jsonl`` and TensorBoard, some of them to the screen."""

    def __init__(self, folder: Path, epochs: int, batches: int, every: int, start_epoch: int = 0):
        """Open the files; what a cut-off run wrote beyond ``start_epoch`` is dropped."""
        from torch.utils.tensorboard import SummaryWriter
        from tqdm import tqdm

        self.epochs = epochs
        self.batches = batches
        self.every = max(1, every)
        start = start_epoch * batches
        self.metrics = open_cut(folder / "metrics.jsonl", start)
        self.board = SummaryWriter(folder / "tensorboard", purge_step=start if start else None)
        self.bar = tqdm(
            total=epochs * batches, initial=start, leave=False, disable=not sys.stderr.isatty()
        )
        self.first = start
        self.began = time.perf_counter()

    def step(self, epoch: int, batch: int, terms: dict[str, float], rate: float) -> None:
        """Record one training step; ``epoch`` and ``batch`` count from 0."""
        step = epoch * self.batches + batch
        line = {"step": step, "epoch": epoch, "lr": rate, **terms}
        self.metrics.write(json.dumps(line) + "\n")
        for name, value in terms.items():
            self.board.add_scalar(f"train/{name}", value, step)
        self.board.add_scalar("train/lr", rate, step)
        self.bar.update()
        if (batch + 1) % self.every == 0 or batch + 1 == self.batches and self.batches < self.every:
            spent = time.perf_counter() - self.began
            left = spent / (step + 1 - self.first) * (self.epochs * self.batches - step - 1)
            values = " ".join(f"{name} {value:.4f}" for name, value in terms.items())
            self.bar.clear()
            logger.info(
                f"epoch [{epoch + 1}/{self.epochs}] batch [{batch + 1}/{self.batches}] {values} "
                f"lr {rate:.4e} eta {timedelta(seconds=round(left))}"
            )

    def end_epoch(self) -> None:
        self.metrics.flush()

    def close(self) -> None:
        self.bar.close()
        self.metrics.close()
        self.board.close()


def open_cut(file: Path, steps: int):
    """Open a metrics file for appending after its first ``steps`` lines; cutting it is atomic."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = file.read_text(encoding="utf-8").splitlines(True) if file.exists() else []
    if len(lines) < steps:
        raise UserError(f"{file} has {len(lines)} lines, but its run had made {steps} steps")
    if len(lines) > steps:
        partial = file.with_name(f".{file.name}.partial")
        partial.write_text("".join(lines[:steps]), encoding="utf-8")
        partial.replace(file)
    return open(file, "a", encoding="utf-8")  # closed by the recorder
