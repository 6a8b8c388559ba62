"""One report in each of its formats."""

import csv
import io

import pytest
from report import main

from softprompt.core.protocols.report.build import build_report
from softprompt.core.protocols.report.significance import paired_test
from softprompt.core.protocols.runs import find_runs


@pytest.fixture(scope="module")
def out(kept_protocol_runs):
    return kept_protocol_runs


@pytest.fixture(scope="module")
def tables(out):
    return build_report(find_runs([str(out)])).tables


def printed(out, form: str, capsys) -> str:
    assert main([str(out), "--format", form]) == 0
    return capsys.readouterr().out


def test_text(out, capsys):
    text = printed(out, "text", capsys)
    # 72 ± 4.303 * sqrt(7) / sqrt(3); CoOp's published base on DTD is 79.44
    assert "72.0 ±6.6 [79.4 -7.4*]" in text
    assert "70.0 71.0 75.0" in text
    assert "published: CoOp: cited:" in text
    assert "In brackets: the published" in text


def test_markdown(out, capsys):
    text = printed(out, "markdown", capsys)
    assert "### base to new classes: coop, 16 shots" in text
    assert "| dtd" in text and "72.0 ±6.6" in text and "**75.7 ±5.2 " not in text
    assert "| maple          | **80.5" in text and "- All methods: configs/\\*/vit_b16.yaml" in text
    assert "- published: MaPLe" in text


def test_latex(out, capsys):
    text = printed(out, "latex", capsys)
    # three metrics, two numbers of shots, two tables of differences, one of costs
    assert text.count(r"\begin{tabular}") == text.count(r"\end{table}") == 3 + 2 + 2 + 1
    lines = [line for line in text.splitlines() if not line.startswith("%")]
    assert r"method & dtd & eurosat & average \\" in lines
    assert r"coop & 72.0 $\pm$6.6 & 81.0 $\pm$2.5 & 76.5 $\pm$3.7 \\" in lines
    assert r"maple & \textbf{75.7} $\pm$5.2 & \textbf{85.3} $\pm$3.8" in text
    assert "±" not in "".join(lines)
    assert "% published: coop, dtd: base [79.4 -7.4*], new [41.2 +20.8*], H" in text
    assert "% published: CoOp: cited:" in text
    assert "% All methods: configs/*/vit_b16.yaml" in text


def test_csv_has_every_seed_and_every_mean(out, capsys):
    lines = list(csv.DictReader(io.StringIO(printed(out, "csv", capsys))))
    of = {"kind": "base2new", "method": "coop/vit_b16", "row": "dtd", "column": "base"}
    found = [line for line in lines if of.items() <= line.items()]
    assert [float(line["value"]) for line in found if line["seed"]] == [70.0, 71.0, 75.0]
    (mean,) = [line for line in found if not line["seed"]]
    assert float(mean["value"]) == 72.0 and float(mean["published"]) == 79.44
    assert mean["outside"] == "True" and mean["published_source"].startswith("cited:")


def test_output_goes_to_a_file(out, tmp_path, capsys):
    file = tmp_path / "deep" / "report.md"
    assert main([str(out), "--format", "markdown", "--output", str(file)]) == 0
    assert capsys.readouterr().out == f"written: {file}\n"
    assert file.read_text().startswith("### ")


def test_all_methods_stand_in_one_table(tables):
    overview = next(table for table in tables if table.kind == "overview")
    assert overview.title == "base to new classes, 16 shots: all methods, average over 2 datasets"
    assert [row.name for row in overview.rows] == [
        "coop/vit_b16",
        "maple/vit_b16",
        "zero-shot CLIP",
    ]
    assert overview.rows[0].cells["base"].mean == pytest.approx(76.5)
    assert overview.rows[0].cells["base"].by_seed == {1: 75.0, 2: 76.5, 3: 78.0}
    assert overview.rows[2].cells["base"].mean == 53.0


def test_methods_with_other_datasets_are_said_to_have_them(out):
    runs = [
        run
        for run in find_runs([str(out / "base2new")])
        if (run.method, run.dataset) != ("maple/vit_b16", "eurosat")
    ]
    overview = next(table for table in build_report(runs).tables if table.kind == "overview")
    assert overview.rows[1].name == "maple/vit_b16 (INCOMPLETE)"
    assert overview.lacking(overview.rows[1].cells["base"]) == "1 of 2 datasets"
    assert overview.remarks == ["INCOMPLETE: maple/vit_b16 has 1 of 2 datasets, not eurosat"]


def test_two_methods_are_tested_over_datasets_and_seeds(tables):
    table = next(table for table in tables if table.kind == "significance")
    (row,) = table.rows
    assert row.name == "coop/vit_b16 - maple/vit_b16"
    assert row.cells["pairs"] == 6
    assert -5 < row.cells["difference"] < -3
    assert 0 < row.cells["t-test p"] < 0.001
    assert row.cells["adjusted p"] == row.cells["t-test p"]
    assert row.cells["Wilcoxon p"] == pytest.approx(2 / 2**6)  # the least of six pairs


def test_a_paired_test_knows_its_pairs():
    first = {"a": 3.0, "b": 5.0, "c": 10.0, "only here": 99.0}
    second = {"a": 1.0, "b": 4.0, "c": 7.0}
    found = paired_test(first, second)
    assert (found["pairs"], found["difference"], found["effect d"]) == (3, 2.0, 2.0)
    assert found["interval"] == pytest.approx(4.303 / 3**0.5, abs=1e-3)
    assert found["t-test p"] == pytest.approx(0.0742, abs=1e-4)


@pytest.mark.parametrize(
    "differences",
    [
        [0.3, 1.1, -0.4, 2.0, 0.7, 1.6],  # no two alike
        [1.0, 1.0, -1.0, 2.0, -2.0, 3.0, 0.5],
        [0.0, 0.0, 1.0, 1.0, 2.0, -0.5, 4.0],
        [float(i - 2 * (i % 3)) for i in range(14)],
    ],
)
def test_wilcoxons_p_value_is_scipys(differences):
    from scipy.stats import wilcoxon

    against = dict.fromkeys(range(len(differences)), 0.0)
    found = paired_test(dict(enumerate(differences)), against)
    assert found["Wilcoxon p"] == pytest.approx(wilcoxon(differences).pvalue, rel=1e-12)


def test_equal_differences_have_no_p_value():
    found = paired_test({1: 2.0, 2: 3.0}, {1: 1.0, 2: 2.0})
    assert found["difference"] == 1.0 and found["t-test p"] is None
    assert paired_test({1: 2.0}, {1: 1.0}) is None


def test_the_cost(tables):
    (cost,) = [table for table in tables if table.kind == "cost"]
    cells = cost.rows[0].cells
    assert (cost.rows[0].name, cells["method"]) == ("base2new", "coop/vit_b16")
    assert (cells["runs"], cells["train s"], cells["train CPU s"]) == (6, 60.0, 40.0)
    assert cells["CPU s in all"] == 6 * (40 + 3 + 1)
    assert (cells["peak MB"], cells["parameters"]) == (500.0, 2048)
    assert "measured on abacus, with 2 thread(s) a run" in cost.remarks
    shared = cost.rows[-1]
    assert (shared.name, shared.cells["CPU s in all"]) == ("shared work", 36 * 5.0)
