"""``results.json``: written last and atomically, so a run without it did not finish."""

import json
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tabulate import tabulate

from softprompt.core.base.errors import UserError
from softprompt.core.base.escape import one_line
from softprompt.core.base.files import write_atomically, writing_to
from softprompt.core.base.formats import Shape, check_format, check_shape

FILE = "results.json"
FORMAT = 1
ANY: Shape = {}
# What readers need of a run, of a meta-training, and of the scores of a model on a class set.
OF_A_RUN: Shape = {"results": dict, "harmonic_mean": dict}
OF_META_TRAINING: Shape = {
    "step": int,
    "steps": int,
    "validations": [{"step": int, "loss": (int, float)}],
}
SCORES: Shape = {"accuracy": (int, float)}
ANEW = "delete it, and the run's own command with --resume, or its sweep, makes it anew"
ZERO_SHOT = "zero-shot CLIP"  # the model beside the trained one in a run's results
PACKAGES = ("softprompt", "torch", "torchvision", "open_clip_torch", "numpy")


def write(folder: Path, contents: dict[str, Any]) -> None:
    """Write ``folder/results.json`` durably; ``UserError`` if it cannot be written."""
    file = folder / FILE
    with writing_to(file, "go on with --resume"):
        write_atomically(file, json.dumps(contents, indent=1))


def read(folder: Path, shape: Shape = ANY) -> dict[str, Any] | None:
    """Return the contents of ``folder/results.json``, None before the run has finished.

    This is the one reader of that file: whoever reads it is told here what is wrong with it.

    Args:
        shape: what the reader needs, such as ``OF_A_RUN``.

    Raises:
        UserError: the file cannot be read, is of a newer version, or lacks what is needed.
    """
    file = folder / FILE
    if not file.is_file():
        return None
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file} is no results file: {error}; {ANEW}") from None
    check_shape(file, found, dict)
    check_format(file, found.get("format", FORMAT), FORMAT)
    try:
        check_shape(file, found, shape)
        check_shape(file, found.get("results", {}), dict, "results")
        for model, by_set in found.get("results", {}).items():
            check_shape(file, by_set, dict, f"results.{model}")
            for subset, scores in by_set.items():
                check_shape(file, scores, SCORES, f"results.{model}.{subset}")
    except UserError as error:
        raise UserError(f"{error}; {ANEW}") from None
    return found


def environment() -> dict[str, Any]:
    """Return the versions and the device that a number came from."""
    import torch

    versions: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor()
    return {"versions": versions, "device": device or platform.machine(), "commit": git_commit()}


def git_commit() -> str | None:
    """Return the checkout's commit, with "+" if files differ from it; None outside a checkout."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return None

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here), *words], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def start_measuring() -> None:
    """Reset the GPU's peak of memory; the process's own cannot be reset."""
    import torch

    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()


def peak_memory() -> dict[str, int | None]:
    """Return bytes: ``gpu`` since ``start_measuring``, ``process`` since the process began.

    A value that the platform does not report is None, and so is ``gpu`` if none was used.
    """
    import torch

    gpu = torch.cuda.max_memory_allocated() if torch.cuda.is_initialized() else None
    return {"process": _resident(), "gpu": gpu}


def _resident() -> int | None:
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # macOS counts bytes


def table(scores: dict[str, dict[str, dict]], means: dict[str, float]) -> str:
    """Return a table: per model its accuracy on each class set, and H if base and new are there.

    Args:
        scores: by model, then class set.
        means: H by model, or empty.
    """
    rows = []
    for model, by_set in scores.items():
        row: dict[str, Any] = {"accuracy %": one_line(model)}
        row |= {name: found["accuracy"] for name, found in by_set.items() if "base" not in found}
        row |= {"H": means[model]} if means else {}
        for name, found in by_set.items():
            if "base" in found:
                row |= {f"{name} {half}": found[half]["accuracy"] for half in ("base", "new")}
                row[f"{name} H"] = found["harmonic_mean"]
        rows.append(row)
    return tabulate(rows, headers="keys", floatfmt=".1f", missingval="-", disable_numparse=[0])


def harmonic_mean(base: float, new: float) -> float:
    """Return ``2 base new / (base + new)``, the field's H."""
    return 2 * base * new / (base + new) if base + new else 0.0
