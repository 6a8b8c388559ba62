"""The benchmark: what it runs is the reference's computation, and its figures are right."""

import json
import math

import pytest
import torch
import torch.nn.functional as F

from softprompt.core.base.errors import UserError
from softprompt.core.clip.build import build_clip
from softprompt.core.clip.fast.onednn import OneDNNLinear
from softprompt.core.studies.benchmark import run
from softprompt.core.studies.benchmark.cases import TEST_BATCH, TEST_IMAGES, Case, difference
from softprompt.core.studies.benchmark.measure import count_operations, time_row, total
from softprompt.core.studies.benchmark.rows import ROWS
from softprompt.core.studies.benchmark.table import curves_table, fit, plot, table
from softprompt.core.studies.reference.clip import ReferenceCLIP


@pytest.fixture(scope="module")
def model():
    return build_clip("tiny", "")


@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_the_references_with_fewer_operations(name, model):
    clips = build_clip_again(model), ReferenceCLIP(model)
    ours, reference = (Case(ROWS[name], clip, 5, (), "tiny") for clip in clips)
    flops = []
    for case in (ours, reference):
        flops.append(sum(part.times * count_operations(part.run)[0] for part in case.parts))
    assert 0 < flops[0] < flops[1]
    if ROWS[name].kind in ("step", "fixed"):
        apart = difference(ours, reference)
        assert apart["loss"] < 1e-4 and apart["gradient"] < 1e-3


def build_clip_again(clip):
    """A clip on the same weights, whose teachers a row may replace."""
    from softprompt.core.clip.frozen import FrozenCLIP

    return FrozenCLIP(clip.model, clip.text.tokenizer, name=clip.name)


def test_operations_are_those_of_products_and_attention():
    x = torch.randn(10, 20, requires_grad=True)
    weight, bias = torch.randn(30, 20), torch.zeros(30)
    product = 2 * 10 * 20 * 30
    for layer in (lambda x: F.linear(x, weight), OneDNNLinear(weight, bias)):
        flops, seconds = count_operations(lambda layer=layer: layer(x).sum().backward())
        assert flops == 2 * product and seconds >= 0
    q = torch.randn(1, 2, 8, 4)
    flops, _ = count_operations(lambda: F.scaled_dot_product_attention(q, q, q))
    assert flops == 2 * 2 * 2 * 8 * 8 * 4


def test_an_evaluation_is_stated_for_the_whole_test_set(model):
    ours, reference = (
        Case(ROWS["evaluation"], clip, 5, (), "tiny") for clip in (model, ReferenceCLIP(model))
    )
    images = TEST_IMAGES / TEST_BATCH
    assert [part.times for part in ours.parts] == [1, images]
    assert [part.times for part in reference.parts] == [10, images]
    assert total(ours, [3.0, 0.5]) == 3 + 0.5 * images


def test_prompts_by_picture_are_evaluated_picture_by_picture_in_the_reference(model):
    row = ROWS["cocoop-evaluation"]
    (ours,) = Case(row, model, 5, (), "tiny").parts
    pictures, text = Case(row, ReferenceCLIP(model), 5, (), "tiny").parts
    assert (ours.times, pictures.times, text.times) == (10, 10, 1000)


def test_the_reference_stays_in_single_precision(monkeypatch):
    monkeypatch.setattr("softprompt.core.studies.benchmark.machine.GEMMS", [(16, 64, 64)])
    row = time_row(
        "coop", 3, ["ours", "reference"], [], size="tiny", precision="bf16", repeats=0, budget=0
    )
    assert 1e-4 < row["difference"]["gradient"] < 0.2
    assert row["gemm"]["bf16"] > 0


def measured(seconds: float, flops: float) -> dict:
    memory = {"peak": 3.0, "loaded": 1.0, "packed": 0.5}
    return {"seconds": [9.0, seconds, 0.0], "flops": flops, "memory": memory}


@pytest.fixture
def found() -> dict:
    both = {"ours": measured(2.0, 1e11), "reference": measured(8.0, 3e11)}
    gemm = {"linear": 50.0, "packed": 80.0, "bf16": 100.0}
    row = both | {"gemm": gemm, "left_out": "", "difference": {"loss": 0.0, "gradient": 2e-6}}
    alone = {k: v for k, v in row.items() if k not in ("reference", "difference")}
    machine = {"processor": "a processor", "cores": 2, "gpu": None, "torch": "2.0"}
    rows = {"prometar 100": alone | {"left_out": "needs about 28 GB"}, "coop 10": row}
    return {
        "rows": rows,
        "growth": {},
        "size": "vit_b16",
        "machine": machine,
        "threads": 1,
        "precision": "bf16",
    }


def test_the_table_states_ratios_share_and_memory(found):
    lines = table(found).splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:4]]
    coop, alone = cells
    assert coop[:8] == ["CoOp", "10", "3", "8.00", "2.00", "4.0", "3.0", "4.8"]
    assert coop[8:] == ["100", "50 %", "1.50 (3.00)", "1.50 (3.00)", "0.50", "2e-06"]
    assert alone[:5] == ["ProMetaR", "100", "3", "needs about 28 GB", "2.00"]
    assert lines[-1] == (
        "vit_b16; a processor, 2 cores; 1 thread(s); bf16; torch 2.0; F.linear 50 GFLOP/s; "
        "packed by oneDNN 80 GFLOP/s; F.linear in bf16 100 GFLOP/s."
    )


def test_a_curve_has_the_exponent_of_its_power_law(tmp_path):
    growth = {
        f"MaPLe, classes {n}": {"ours": {"seconds": [3 * n**0.5], "flops": n}} for n in (100, 10, 1)
    }
    curves = fit(growth)
    points, exponent = curves["MaPLe, classes"]
    assert [point[0] for point in points] == [1, 10, 100]
    assert math.isclose(exponent, 0.5)
    assert "| 0.50" in curves_table(curves)
    plot(curves, tmp_path / "growth.png")
    assert (tmp_path / "growth.png").stat().st_size > 1000


@pytest.fixture
def benchmark(load_tool):
    return load_tool("benchmark")


def settings_of(benchmark, flags: list[str]) -> run.Settings:
    return run.Settings(**vars(benchmark.parse(flags)))


def test_a_reference_that_memory_is_too_short_for_is_left_out(benchmark, monkeypatch, tmp_path):
    asked = []

    def answer(measure, settings, request):
        asked.append((measure, request))
        return {"ours": {}} if measure == "time" else {}

    monkeypatch.setattr(run, "measure_apart", answer)
    monkeypatch.setattr(run, "free_gigabytes", lambda: 10.0)
    settings = settings_of(benchmark, ["--output-dir", str(tmp_path)])
    row = run.measure_row(settings, "prometar", 50, {})
    assert row["left_out"] == "needs about 18 GB"
    assert [request.get("variants") or request["variant"] for _, request in asked] == [
        ["ours"],
        "ours",
    ]
    assert run.measure_row(settings, "coop", 10, {})["left_out"] == ""


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--rows", "growth", "--classes", "3"], "has rows and classes of its own"),
        (["--rows", "growth", "--methods", "coop"], "has rows and classes of its own"),
        (["--classes", "0"], "0 is less than 1"),
    ],
)
def test_flags_that_would_do_nothing_are_refused(benchmark, flags, said, tmp_path, capsys):
    assert benchmark.main(["--output-dir", str(tmp_path), *flags]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("content", ["{", "[]", '{"rows": {}, "growth": {}}'])
def test_a_file_of_another_kind_is_refused(benchmark, content, tmp_path, capsys):
    (tmp_path / "benchmark.json").write_text(content)
    assert benchmark.main(["--output-dir", str(tmp_path)]) == 2
    assert "is not of this version of the benchmark" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_measures_in_processes_of_its_own(benchmark, tmp_path, capsys):
    flags = ["--output-dir", str(tmp_path), "--size", "tiny", "--repeats", "1"]
    assert benchmark.main([*flags, "--methods", "coop", "--classes", "3"]) == 0
    row = json.loads((tmp_path / "benchmark.json").read_text())["rows"]["coop 3"]
    for variant in ("ours", "reference"):
        memory = row[variant]["memory"]
        assert memory["peak"] >= memory["loaded"] > 0 and row[variant]["seconds"][0] > 0
    assert capsys.readouterr().out.startswith((tmp_path / "benchmark.md").read_text())
    assert benchmark.main([*flags, "--precision", "bf16"]) == 2
    assert "was measured with precision fp32, not bf16" in capsys.readouterr().err
    settings = settings_of(benchmark, flags)
    request = {"row": "coop", "classes": 3, "variant": "ours", "pairs": ["NO.KEY", "1"]}
    with pytest.raises(UserError, match="row coop at 3 classes: .*NO"):
        run.measure_apart("memory", settings, request)
