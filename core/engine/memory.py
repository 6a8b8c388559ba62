"""The most memory that a run held, of the processor's and of the GPU's."""

import sys

import torch


def start_measuring() -> None:
    """Forget what the GPU held before; the process's own peak cannot be forgotten."""
    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()


def peak_memory() -> dict[str, int | None]:
    """Return bytes: ``gpu`` since ``start_measuring``, ``process`` since the process began.

    What a platform does not tell is None, and so is ``gpu`` if none was used.
    """
    gpu = torch.cuda.max_memory_allocated() if torch.cuda.is_initialized() else None
    return {"process": _resident(), "gpu": gpu}


def _resident() -> int | None:
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # macOS counts bytes
