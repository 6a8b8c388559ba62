"""Tests of the differences between two methods against chance."""

import math
from collections.abc import Iterable
from itertools import combinations
from statistics import fmean, stdev
from typing import Any

from softprompt.core.protocols.report.overview import comparable
from softprompt.core.protocols.report.scores import half_width
from softprompt.core.protocols.report.table import Row, Table

METRICS = ("H", "accuracy")  # of base to new, and of transfers; few shots have a column a number
FORMATS = {"pairs": "d", "difference": "+.2f", "interval": ".2f", "effect d": ".2f"}
P_VALUES = ("t-test p", "Wilcoxon p", "adjusted p")
EXACT_PAIRS = 13  # up to here scipy, too, tries all combinations of signs if there are ties
REMARK = (
    "paired over datasets and seeds; effect d is Cohen's, of the paired differences; adjusted p is "
    "the t-test's after Benjamini and Hochberg over this table. Seeds of one dataset are no "
    "independent draws of datasets: a small p says that the difference holds on these datasets."
)


def significances(tables: Iterable[Table]) -> list[Table]:
    """Return a table for each protocol with several methods: one row for each pair of methods."""
    tested = [_tests(title, group) for title, group in comparable(tables).items()]
    return [table for table in tested if table.rows]


def _tests(title: str, tables: list[Table]) -> Table:
    from scipy.stats import false_discovery_control

    rows = []
    references = [table for table in tables if table.untrained][1:]  # the same numbers once more
    for first, second in combinations([it for it in tables if it not in references], 2):
        tested = paired_test(_values(first), _values(second))
        if tested:
            rows.append(Row(f"{first.method} - {second.method}", tested))
    known = [row for row in rows if row.cells["t-test p"] is not None]
    if known:
        adjusted = false_discovery_control([row.cells["t-test p"] for row in known])
        for row, value in zip(known, adjusted, strict=True):
            row.cells["adjusted p"] = float(value)
    metric = next((metric for metric in METRICS if metric in tables[0].columns), "accuracy")
    return Table(
        "significance",
        f"{title}: differences in {metric}",
        "methods",
        (*FORMATS, *P_VALUES),
        rows,
        [REMARK],
        formats=FORMATS | dict.fromkeys(P_VALUES, ".2g"),
    )


def paired_test(first: dict, second: dict) -> dict | None:
    """Compare the values that two methods have under the same keys.

    Returns:
        The mean difference, half the width of its 95% interval, Cohen's d and the p-values of the
        paired t-test and the Wilcoxon signed-rank test, which are None if all differences are
        equal; None for fewer than two common keys.
    """
    from scipy.stats import ttest_rel

    keys = [key for key in first if key in second]
    if len(keys) < 2:
        return None
    a, b = [first[key] for key in keys], [second[key] for key in keys]
    differences = [x - y for x, y in zip(a, b, strict=True)]
    spread = stdev(differences)
    row = {
        "pairs": len(keys),
        "difference": fmean(differences),
        "interval": half_width(differences),
        "effect d": fmean(differences) / spread if spread else None,
    }
    p_values: dict[str, float | None] = dict.fromkeys(P_VALUES)
    if not math.isclose(spread, 0, abs_tol=1e-9):
        result: Any = ttest_rel(a, b)
        p_values["t-test p"] = float(result.pvalue)
        p_values["Wilcoxon p"] = _wilcoxon(differences)
    return row | p_values


def _wilcoxon(differences: list[float]) -> float:
    """Return the p-value; of few pairs exactly, as scipy does but without its Python loop."""
    from scipy.stats import permutation_test, rankdata, wilcoxon

    if len(differences) > EXACT_PAIRS:
        result: Any = wilcoxon(differences)
        return float(result.pvalue)

    def positive_ranks(values, axis):
        return ((values > 0) * ranks).sum(axis)

    # Differences of zero have no rank: the ranks of the others start at one.
    ranks = rankdata([abs(each) for each in differences]) - differences.count(0)
    signs = {"permutation_type": "samples", "vectorized": True}
    return float(permutation_test((differences,), positive_ranks, **signs).pvalue)


def _values(table: Table) -> dict[tuple, float]:
    """Return the scores of a method by dataset, column (metric or number of shots) and seed."""
    columns = [metric for metric in METRICS if metric in table.columns][:1]
    columns = columns or [column for column in table.columns if column.endswith(" shots")]
    values = {}
    for row in table.rows:
        if row.name in table.datasets:
            for column in columns:
                score = row.score(column)
                if score is not None:
                    for seed, value in score.by_seed.items():
                        values[row.name, column, seed] = value
    return values
