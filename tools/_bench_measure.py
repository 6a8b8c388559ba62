"""Seconds, operations and memory of what the benchmark runs."""

import ctypes.util
import gc
import json
import resource
import time
from pathlib import Path

from _bench_cases import BACKBONES, ROWS, Case, difference
from _bench_machine import gemm_limit, seconds

STATUS = Path("/proc/self/status")


def build(variant: str, size: str, precision: str = "fp32"):
    """Return a backbone with random weights as ``variant`` runs it; the reference is in fp32."""
    import torch

    from softprompt.core.base.plugins import import_built_in
    from softprompt.core.clip.build import build_clip
    from softprompt.core.studies.reference.clip import ReferenceCLIP

    import_built_in()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if variant == "ours":
        return build_clip(BACKBONES[size], "", precision, device)
    return ReferenceCLIP(build_clip(BACKBONES[size], "", "fp32", device))


def counted(run) -> tuple[float, float]:
    """Return the floating-point operations of products and attention, and the run's seconds."""
    import torch

    # The fused module that evaluation takes hides its products from the counter.
    torch.backends.mha.set_fastpath_enabled(False)
    with counter() as found:
        taken = seconds(run)
    torch.backends.mha.set_fastpath_enabled(True)
    return found.flops, taken


def counter():
    """A context that counts two operations a multiply-add, by torch's formulas and two more.

    torch's ``FlopCounterMode`` also follows modules, and fails where one is run in a gradient.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

    def packed(x, weight, *_, **__):
        return 2 * x.numel() * weight.shape[0]

    def attention(q, k, v, *_, **__):
        return sdpa_flop_count(q.shape, k.shape, v.shape)

    def attention_backward(gradient, q, k, v, *_, **__):
        return sdpa_backward_flop_count(gradient.shape, q.shape, k.shape, v.shape)

    aten = torch.ops.aten
    formulas = {
        **flop_registry,
        torch.ops.mkldnn._linear_pointwise: packed,
        aten._scaled_dot_product_flash_attention_for_cpu: attention,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: attention_backward,
    }

    class Counter(TorchDispatchMode):
        flops = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            formula = formulas.get(function._overloadpacket)
            if formula is not None:
                self.flops += formula(*args, **(kwargs or {}), out_val=out)
            return out

    return Counter()


def total(case: Case, each: list[float]) -> float:
    return sum(part.times * value for part, value in zip(case.parts, each, strict=True))


def time_row(
    row: str,
    classes: int,
    variants: list,
    settings: list,
    size: str,
    precision: str,
    repeats: int,
    budget: float,
) -> dict:
    """Return seconds and operations of both variants, run in turns in this process.

    In the first run of each operations are counted, which takes little time beside it; its seconds
    count only where it is the last one too. There are ``repeats`` more, or as many as begin within
    ``budget`` seconds.
    """
    import torch

    from softprompt.core.studies.reference.clip import ReferenceCLIP

    clip = build("ours", size, precision)
    clips = {"ours": clip, "reference": ReferenceCLIP(clip)}
    clips["reference"].precision = "fp32"
    cases = {v: Case(ROWS[row], clips[v], classes, tuple(settings), size) for v in variants}
    began = time.perf_counter()
    found: dict = {}
    for variant, case in cases.items():
        counts, times = zip(*(counted(part.run) for part in case.parts), strict=True)
        found[variant] = {"flops": total(case, counts), "seconds": [total(case, times)]}
    if len(cases) == 2 and cases["ours"].terms:
        found["difference"] = difference(cases["ours"], cases["reference"])
    for turn in range(repeats):
        if time.perf_counter() - began > budget:
            break
        for variant, case in cases.items():
            taken = total(case, [seconds(part.run) for part in case.parts])
            kept = found[variant]["seconds"] if turn else []
            found[variant]["seconds"] = [*kept, taken]
    found["gemm"] = gemm_limit(precision)
    found["threads"] = torch.get_num_threads()
    return found


def memory_row(
    row: str, classes: int, variant: str, settings: list, size: str, precision: str
) -> dict:
    """Return gigabytes: the peak, what is there once CLIP is loaded, and packed weights.

    Of the last, those that loading itself has made do not count as loaded.
    """
    import torch

    clip = build(variant, size, precision)
    give_back()
    before = resident() - clip.packed_bytes
    reset_peak()
    case = Case(ROWS[row], clip, classes, tuple(settings), size)
    for part in case.parts:
        part.run()
    if torch.cuda.is_available():
        highest = torch.cuda.max_memory_allocated()
    else:
        highest = status("VmHWM") or 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    gigabyte = 2**30
    return {
        "peak": highest / gigabyte,
        "loaded": before / gigabyte,
        "packed": clip.packed_bytes / gigabyte,
    }


def give_back() -> None:
    """Have the C library return what loading has left over, or a step could use it unseen."""
    gc.collect()
    library = ctypes.util.find_library("c")
    trim = getattr(ctypes.CDLL(library), "malloc_trim", None) if library else None
    if trim:
        trim(0)


def resident() -> int:
    import torch

    return torch.cuda.memory_allocated() if torch.cuda.is_available() else status("VmRSS")


def reset_peak() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    elif STATUS.exists():
        Path("/proc/self/clear_refs").write_text("5")


def status(key: str) -> int:
    """Bytes of one of Linux's counts of this process, 0 elsewhere."""
    lines = STATUS.read_text().splitlines() if STATUS.exists() else []
    found = [int(line.split()[1]) for line in lines if line.startswith(f"{key}:")]
    return 1024 * found[0] if found else 0


def child(request: str) -> None:
    """Answer one request of the parent's with a last line of JSON."""
    import torch

    given = json.loads(request)
    torch.set_num_threads(given.pop("threads"))
    measure = {"time": time_row, "memory": memory_row}[given.pop("measure")]
    print(json.dumps(measure(**given)))
