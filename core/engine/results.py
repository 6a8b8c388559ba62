"""``results.json``: written last and in one step, so a run without it did not finish."""

import json
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tabulate import tabulate

FILE = "results.json"
ZERO_SHOT = "zero-shot CLIP"  # the model beside the trained one in a run's results
PACKAGES = ("softprompt", "torch", "torchvision", "open_clip_torch", "numpy")


def write(folder: Path, results: dict) -> None:
    partial = folder / f".{FILE}.partial"
    with open(partial, "w", encoding="utf-8") as opened:
        json.dump(results, opened, indent=1)
        opened.flush()
        os.fsync(opened.fileno())
    partial.replace(folder / FILE)


def environment() -> dict:
    """The versions and the machine that a number came from."""
    import torch

    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor()
    return {"versions": versions, "device": device or platform.machine(), "commit": git_commit()}


def git_commit() -> str | None:
    """The checkout's commit, with "+" if files differ from it; None outside a checkout."""
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


def table(scores: dict[str, dict[str, dict]], means: dict[str, float]) -> str:
    """One row a model, its accuracy on each class set, and H where there are base and new."""
    rows = []
    for model, by_set in scores.items():
        row = {"accuracy %": model}
        row |= {name: found["accuracy"] for name, found in by_set.items() if "base" not in found}
        row |= {"H": means[model]} if means else {}
        for name, found in by_set.items():
            if "base" in found:
                row |= {f"{name} {half}": found[half]["accuracy"] for half in ("base", "new")}
                row[f"{name} H"] = found["harmonic_mean"]
        rows.append(row)
    return tabulate(rows, headers="keys", floatfmt=".1f", missingval="-")


def harmonic_mean(base: float, new: float) -> float:
    """``2 base new / (base + new)``, the field's H."""
    return 2 * base * new / (base + new) if base + new else 0.0
