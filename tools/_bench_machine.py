"""The machine that the benchmark runs on: its clock, its limit and its name."""

import platform
import statistics
import time
from functools import partial
from pathlib import Path

GEMMS = ((800, 768, 3072), (524, 512, 2048))  # images' and texts' largest, in tokens and widths


def seconds(run) -> float:
    """Seconds of processor time on the CPU, which others on the machine add little to, or of a GPU.

    Where torch has several threads, their seconds are added up.
    """
    import torch

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
    """Return the highest rate, in GFLOP a second, of a linear layer.

    It is that of torch's and of the packed one in fp32, and of torch's in the precision asked for.
    """
    import torch
    import torch.nn.functional as F

    from softprompt.core.clip.fast.onednn import PackedLinear
    from softprompt.core.clip.frozen import PRECISIONS

    device = "cuda" if torch.cuda.is_available() else "cpu"
    found = {"linear": 0.0, "packed": 0.0}
    dtype = PRECISIONS[precision]
    for tokens, width, out in GEMMS:
        x, weight, bias = (
            torch.randn(shape, device=device) for shape in ((tokens, width), (out, width), (out,))
        )
        runs = {"linear": partial(F.linear, x, weight, bias)}
        if device == "cpu" and torch.backends.mkldnn.is_available():
            runs["packed"] = partial(PackedLinear(weight, bias), x)
        if dtype is not None:
            runs[precision] = partial(F.linear, x.to(dtype), weight.to(dtype), bias.to(dtype))
        for name, run in runs.items():
            run()
            times = [seconds(run) for _ in range(7)]
            rate = 2e-9 * tokens * width * out / statistics.median(times)
            found[name] = max(found.get(name, 0.0), rate)
    return found


def machine() -> dict:
    import os

    import torch

    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": named[0] if named else platform.machine(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
    }
