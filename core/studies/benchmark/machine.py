"""The machine that the benchmark runs on: its clock, its memory, its fastest products, its name."""

import ctypes.util
import gc
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F

from softprompt.core.clip.fast.onednn import OneDNNLinear
from softprompt.core.clip.frozen import PRECISIONS

STATUS = Path("/proc/self/status")
GEMMS = ((800, 768, 3072), (524, 512, 2048))  # largest of images and texts: tokens, widths


def seconds(run: Callable[[], object]) -> float:
    """Return a run's seconds: of processor time on a CPU, elapsed on a GPU.

    Other work on the machine adds little to processor time. The seconds of torch's threads add up.
    """
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        began = time.perf_counter()
        run()
        torch.cuda.synchronize()
        return time.perf_counter() - began
    began = time.process_time()
    run()
    return time.process_time() - began


def gemm_limit(precision: str = "fp32") -> dict[str, float]:
    """Return the highest rates of a linear layer in GFLOP per second.

    They are ``linear``, torch's in fp32, ``packed``, oneDNN's with packed weights in fp32, and that
    of torch's in the given precision, unless it is fp32.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    found = {"linear": 0.0, "packed": 0.0}
    dtype = PRECISIONS[precision]
    for tokens, width, out in GEMMS:
        x, weight, bias = (
            torch.randn(shape, device=device) for shape in ((tokens, width), (out, width), (out,))
        )
        runs = {"linear": partial(F.linear, x, weight, bias)}
        if device == "cpu" and torch.backends.mkldnn.is_available():
            runs["packed"] = partial(OneDNNLinear(weight, bias), x)
        if dtype is not None:
            runs[precision] = partial(F.linear, x.to(dtype), weight.to(dtype), bias.to(dtype))
        for name, run in runs.items():
            run()
            times = [seconds(run) for _ in range(7)]
            rate = 2e-9 * tokens * width * out / statistics.median(times)
            found[name] = max(found.get(name, 0.0), rate)
    return found


def free_unused() -> None:
    """Make the C library return memory that loading has left over, which a step would reuse."""
    gc.collect()
    library = ctypes.util.find_library("c")
    trim = getattr(ctypes.CDLL(library), "malloc_trim", None) if library else None
    if trim:
        trim(0)


def resident() -> int:
    """Return the bytes that this process holds, of the GPU's memory if there is one."""
    return torch.cuda.memory_allocated() if torch.cuda.is_available() else _status("VmRSS")


def reset_peak() -> None:
    """Let ``peak`` count from here, where the platform can."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    elif STATUS.exists():
        Path("/proc/self/clear_refs").write_text("5")


def peak() -> int:
    """Return the most bytes that this process has held, of the GPU's memory if there is one."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return _status("VmHWM") or 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _status(key: str) -> int:
    """Return the bytes of one of Linux's counts for this process, 0 elsewhere."""
    lines = STATUS.read_text().splitlines() if STATUS.exists() else []
    found = [int(line.split()[1]) for line in lines if line.startswith(f"{key}:")]
    return 1024 * found[0] if found else 0


def free_gigabytes() -> float:
    """Return the memory that is available on this machine; infinity where Linux does not tell."""
    info = Path("/proc/meminfo")
    if not info.exists():
        return float("inf")
    fields = dict(line.split(":") for line in info.read_text().splitlines())
    return int(fields["MemAvailable"].split()[0]) / 2**20


def machine() -> dict:
    """Return what tells this machine from others: processor, cores, GPU and version of torch."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": named[0] if named else platform.machine(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
    }
