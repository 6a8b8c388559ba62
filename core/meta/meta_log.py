"""What meta-training writes while it goes on: metrics.jsonl, TensorBoard, the progress line."""

import json
import sys
import time
from datetime import timedelta
from pathlib import Path

from softprompt.core.base.log import logger
from softprompt.core.engine.recorder import open_truncated
from softprompt.core.meta.objective import Outcome


class MetaRecorder:
    """Numbers of every outer step and every validation."""

    def __init__(self, folder: Path, steps: int, every: int, start: int):
        """Open the files; what a cut-off run wrote beyond ``start`` steps is dropped."""
        from torch.utils.tensorboard import SummaryWriter
        from tqdm import tqdm

        self.steps = steps
        self.every = every
        self.first = start
        self.metrics = open_truncated(folder / "metrics.jsonl", start)
        self.board = SummaryWriter(folder / "tensorboard", purge_step=start if start else None)
        self.bar = tqdm(total=steps, initial=start, leave=False, disable=not sys.stderr.isatty())
        self.began = time.perf_counter()

    def step(self, step: int, outcome: Outcome, rate: float) -> None:
        """Record one outer step, counted from 0."""
        self.metrics.write(json.dumps({"step": step, "lr": rate, **outcome._asdict()}) + "\n")
        for name, value in (*outcome._asdict().items(), ("lr", rate)):
            self.board.add_scalar(f"meta-train/{name}", value, step)
        self.bar.update()
        if (step + 1) % self.every == 0:
            spent = time.perf_counter() - self.began
            left = spent / (step + 1 - self.first) * (self.steps - step - 1)
            self._say(
                f"step [{step + 1}/{self.steps}] {_line(outcome)} lr {rate:.2e} "
                f"eta {timedelta(seconds=round(left))}"
            )

    def validation(self, step: int, outcome: Outcome, best: bool) -> None:
        for name, value in outcome._asdict().items():
            self.board.add_scalar(f"meta-val/{name}", value, step)
        best_so_far = ", the best so far" if best else ""
        self._say(f"held-out topics after step {step}: {_line(outcome)}{best_so_far}")

    def _say(self, line: str) -> None:
        self.bar.clear()
        logger.info(line)

    def flush(self) -> None:
        self.metrics.flush()
        self.board.flush()

    def close(self) -> None:
        self.bar.close()
        self.metrics.close()
        self.board.close()


def _line(outcome: Outcome) -> str:
    return (
        f"loss {outcome.loss:.4f} same classes {outcome.accuracy_same:.1f}% "
        f"other classes {outcome.accuracy_other:.1f}% gate {outcome.gate:.3f}"
    )
