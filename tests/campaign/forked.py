"""Run a command of ``tools/`` in a forked copy of this process: a real process within milliseconds.

The modules are imported before the fork, so that a mistake costs no start of Python and torch.
"""

import contextlib
import os
import resource
import runpy
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# The least that trains: two steps on generated pictures, a second in all.
TRAIN = (
    *("--config-file", str(ROOT / "configs/coop/tiny.yaml")),
    *"DATASET.NUM_SHOTS 1 DATALOADER.TRAIN_X.BATCH_SIZE 5 OPTIM.MAX_EPOCH 1".split(),
    *"OPTIM.WARMUP_EPOCH 0 TEST.MAX_IMAGES 8 SEED 3".split(),
)
TIMEOUT = 120.0  # seconds after which a command counts as hanging


@dataclass(frozen=True)
class Outcome:
    """How a command ended: its exit code (negative: the signal), what it printed, its seconds."""

    words: tuple[str, ...]
    code: int
    out: str
    err: str
    seconds: float

    def __str__(self) -> str:
        words = " ".join(f"{word[:80]!r}" for word in self.words)
        return f"{words}\n{self.out[-400:]}\n--- standard error\n{self.err[-1200:]}"


def warm_up() -> None:
    """Import what the commands import, so that their forks need not."""
    import open_clip  # noqa: F401
    import PIL.Image
    import sklearn.cluster
    import sklearn.feature_extraction.text  # noqa: F401
    import torch
    import torch.utils.tensorboard  # noqa: F401

    import softprompt.core.base.cli  # noqa: F401
    import softprompt.core.engine.predictor
    import softprompt.core.engine.run
    import softprompt.core.meta
    import softprompt.core.protocols.report  # noqa: F401

    torch.set_num_threads(1)
    PIL.Image.init()


class Process:
    """A command that runs in a fork of this process.

    Args:
        tool: the name of a command, such as ``train``.
        words: its arguments.
        cwd: its current folder.
        before: called in the fork before the command starts; it may restrict the process.
    """

    def __init__(
        self,
        tool: str,
        *words: str,
        cwd: Path,
        before: Callable[[], None] | None = None,
        env: dict[str, str] | None = None,
    ) -> None:
        self.words = (tool, *words)
        self.began = time.monotonic()
        self._out, self._err = (tempfile.TemporaryFile() for _ in range(2))
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _run(tool, words, cwd, self._out.fileno(), self._err.fileno(), before, env or {})

    def kill(self) -> None:
        """Kill the command and the processes that it started, without a warning."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def wait(self, seconds: float = TIMEOUT) -> Outcome | None:
        """Return how the command ended, or None if it still runs after so many seconds."""
        end = time.monotonic() + seconds
        while (ended := os.waitpid(self.pid, os.WNOHANG))[0] == 0:
            if time.monotonic() > end:
                return None
            time.sleep(0.002)
        code = os.waitstatus_to_exitcode(ended[1])
        self.kill()  # what it started and left
        texts = []
        for file in (self._out, self._err):
            file.seek(0)
            texts.append(file.read().decode(errors="surrogateescape"))
            file.close()
        return Outcome(self.words, code, *texts, time.monotonic() - self.began)


def run(tool: str, *words: str, cwd: Path, timeout: float = TIMEOUT, **options) -> Outcome:
    """Run a command to its end; one that hangs is killed and fails the test."""
    process = Process(tool, *words, cwd=cwd, **options)
    outcome = process.wait(timeout)
    if outcome is None:
        process.kill()
        outcome = process.wait()
        raise AssertionError(f"it still ran after {timeout:.0f} s: {outcome}")
    return outcome


def _run(tool, words, cwd, out, err, before, env) -> None:
    """Be the command; never return."""
    code = 70
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.dup2(out, 1)
        os.dup2(err, 2)
        # pytest's capture has replaced these.
        sys.stdout = open(1, "w", encoding="utf-8", errors="strict", closefd=False)
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
        os.environ.update({"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0", **env})
        os.chdir(cwd)
        sys.argv = [str(ROOT / "tools" / f"{tool}.py"), *words]
        if before:
            before()
        runpy.run_path(sys.argv[0], run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
