"""Seconds, operations and memory of a row, measured in this process.

Run as a module it answers one request of ``run.measure_apart``.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

from softprompt.core.base.files import GIGABYTE
from softprompt.core.base.plugins import import_built_in
from softprompt.core.base.say import say
from softprompt.core.clip.build import build_clip
from softprompt.core.clip.frozen import FrozenCLIP
from softprompt.core.studies.benchmark.cases import Case, difference
from softprompt.core.studies.benchmark.machine import (
    free_unused,
    gemm_limit,
    peak,
    reset_peak,
    resident,
    seconds,
)
from softprompt.core.studies.benchmark.rows import BACKBONES, ROWS
from softprompt.core.studies.reference.clip import ReferenceCLIP


def build(variant: str, size: str, precision: str = "fp32") -> FrozenCLIP:
    """Return a backbone with random weights as ``variant`` runs it; the reference is in fp32."""
    import_built_in()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if variant == "ours":
        return build_clip(BACKBONES[size], "", precision, device)
    return ReferenceCLIP(build_clip(BACKBONES[size], "", "fp32", device))


def count_operations(run: Callable[[], object]) -> tuple[float, float]:
    """Return the floating-point operations of products and attention, and the run's seconds."""
    # The fused module that evaluation takes hides its products from the counter.
    torch.backends.mha.set_fastpath_enabled(False)
    with OperationCounter() as counter:
        taken = seconds(run)
    torch.backends.mha.set_fastpath_enabled(True)
    return counter.flops, taken


def _packed(x: torch.Tensor, weight: torch.Tensor, *_, **__) -> int:
    return 2 * x.numel() * weight.shape[0]


def _attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *_, **__) -> int:
    return sdpa_flop_count(q.shape, k.shape, v.shape)


def _attention_backward(gradient: torch.Tensor, q, k, v, *_, **__) -> int:
    return sdpa_backward_flop_count(gradient.shape, q.shape, k.shape, v.shape)


class OperationCounter(TorchDispatchMode):
    """Counts operations, two per multiply-add, by torch's formulas and those of the CPU's kernels.

    torch's ``FlopCounterMode`` also follows modules, and fails where one is run in a gradient.
    """

    def __init__(self):
        super().__init__()
        aten = torch.ops.aten
        self.flops = 0
        self.formulas: dict[Any, Callable] = {
            **flop_registry,
            torch.ops.mkldnn._linear_pointwise: _packed,
            aten._scaled_dot_product_flash_attention_for_cpu: _attention,
            aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
        }

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        formula = self.formulas.get(func._overloadpacket)
        if formula is not None:
            self.flops += formula(*args, **(kwargs or {}), out_val=out)
        return out


def total(case: Case, each: Sequence[float]) -> float:
    """Return the cost of a row from that of each of its parts."""
    return sum(part.times * value for part, value in zip(case.parts, each, strict=True))


def time_row(
    row: str,
    classes: int,
    variants: list[str],
    pairs: list[str],
    size: str,
    precision: str,
    repeats: int,
    budget: float,
) -> dict:
    """Return seconds and operations of the variants, which run in turns.

    The first run of each also counts operations, which adds little time; its seconds are kept only
    if no other run follows. There are ``repeats`` more, or as many as begin within ``budget``
    seconds.
    """
    clip = build("ours", size, precision)
    clips = {"ours": clip, "reference": ReferenceCLIP(clip)}
    clips["reference"].precision = "fp32"
    cases = {v: Case(ROWS[row], clips[v], classes, pairs, size) for v in variants}
    began = time.perf_counter()
    found: dict = {}
    for variant, case in cases.items():
        counts, times = zip(*(count_operations(part.run) for part in case.parts), strict=True)
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
    row: str, classes: int, variant: str, pairs: list[str], size: str, precision: str
) -> dict[str, float]:
    """Return gigabytes: ``peak``, ``loaded`` once CLIP is there, and ``packed`` weights.

    Weights that are packed while CLIP is loaded do not count as loaded.
    """
    clip = build(variant, size, precision)
    free_unused()
    before = resident() - clip.onednn_bytes
    reset_peak()
    case = Case(ROWS[row], clip, classes, pairs, size)
    for part in case.parts:
        part.run()
    return {
        "peak": peak() / GIGABYTE,
        "loaded": before / GIGABYTE,
        "packed": clip.onednn_bytes / GIGABYTE,
    }


def answer(request: str) -> str:
    """Return, as JSON, the measurement that a request in JSON asks for."""
    given = json.loads(request)
    torch.set_num_threads(given.pop("threads"))
    measure = {"time": time_row, "memory": memory_row}[given.pop("measure")]
    return json.dumps(measure(**given))


if __name__ == "__main__":
    say(answer(sys.argv[1]))
