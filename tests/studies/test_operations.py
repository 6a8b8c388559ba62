"""The operations of a step, which a GPU launches one by one, do not grow unnoticed."""

import json
from itertools import product

import pytest
import torch

from softprompt.core.base.registry import TRAINERS
from softprompt.core.studies.benchmark.operations import (
    Counter,
    count_step,
    counted_clip,
    pairs,
)

# With each method's own configuration on the small CLIP, as a GPU takes them; counted, and a
# twentieth more for other versions of torch.
MOST = {"coop": 179, "maple": 275, "ivlp": 266, "promptsrc": 351, "cocoop": 200, "prometar": 1945}


@pytest.fixture(scope="module")
def gpu_path():
    return counted_clip("tiny", "fp32", "gpu")


def counted(method: str, clip, classes: int = 10) -> dict[str, int]:
    (cfg,) = pairs([method], "tiny", clip)
    return count_step(cfg, clip, classes)


@pytest.mark.parametrize("method", MOST)
def test_no_step_has_more_operations_than_when_it_was_counted(method, gpu_path):
    counts = counted(method, gpu_path)
    assert 0.8 * MOST[method] < counts["operations"] <= MOST[method]
    assert counts["reads"] == counts["shapes"] == 0


def test_classes_add_none_on_a_gpu_and_some_on_a_cpu(gpu_path):
    assert counted("coop", gpu_path, 40) == counted("coop", gpu_path)
    cpu_path = counted_clip("tiny", "fp32", "cpu")
    few, many = (counted("coop", cpu_path, classes)["operations"] for classes in (10, 40))
    assert MOST["coop"] < few < many


def test_every_pair_that_trains_is_counted(learners, gpu_path):
    found = [(cfg.PROMPT.NAME, cfg.TRAINER.NAME) for cfg in pairs([], "tiny", gpu_path)]
    assert found == [*product(learners, TRAINERS.names())]


def test_what_counts_as_what():
    x = torch.arange(6.0)
    with Counter() as counter:
        torch.empty(3)
        (x.view(2, 3).mT + 1).sum()  # two views, two operations
        x.max().item()
        x[x > 1]
        x[torch.tensor([1])]
    counts = counter.counts
    assert counts.views == 2
    assert counts.reads == 1 and counts.shapes == 1
    assert counts.operations == 2 + 2 + 2 + 1


@pytest.mark.slow
def test_the_command_writes_a_table(load_tool, tmp_path, capsys):
    flags = ["--rows", "operations", "--size", "tiny", "--methods", "coop", "maple"]
    out = ["--output-dir", str(tmp_path)]
    assert load_tool("benchmark").main([*flags, *out, "--classes", "3"]) == 0
    assert (
        load_tool("benchmark").main([*flags, *out, "--classes", "3", "--device-path", "cpu"]) == 0
    )
    found = json.loads((tmp_path / "benchmark.json").read_text())["operations"]
    assert [*found] == [
        f"{pair} 3 {path}" for path in ("gpu", "cpu") for pair in ("coop erm", "maple erm")
    ]
    text = (tmp_path / "benchmark.md").read_text()
    assert "operations" in text and text in capsys.readouterr().out
    assert load_tool("benchmark").main([*out, "--device-path", "cpu"]) == 2
    assert "--device-path is for --rows operations" in capsys.readouterr().err
