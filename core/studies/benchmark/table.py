"""The measurements of the benchmark as Markdown tables and as a plot."""

import math
import statistics
from pathlib import Path

from tabulate import tabulate

from softprompt.core.studies.benchmark.rows import ROWS

HEADERS = (
    "row",
    "classes",
    "runs",
    "reference s",
    "ours s",
    "times faster",
    "times fewer operations",
    "fewer operations x GEMM gain",
    "ours GFLOP",
    "share of the GEMM limit",
    "reference GB (in all)",
    "ours GB (in all)",
    "packed GB",
    "gradients apart",
)


def table(found: dict) -> str:
    """Return the table of all rows, if there are any, and a line on the machine."""
    rows = [line(key, row) for key, row in sorted(found["rows"].items(), key=order)]
    text = tabulate(rows, HEADERS, tablefmt="github", disable_numparse=True) + "\n" if rows else ""
    return f"{text}\n{description(found)}\n"


def order(item: tuple[str, dict]) -> tuple[int, int]:
    """Return where a row stands in the table."""
    name, classes = item[0].split()
    return [*ROWS].index(name), int(classes)


def line(key: str, row: dict) -> list[str]:
    """Return a row's cells, named by ``HEADERS``."""
    name, classes = key.split()
    ours, reference = row["ours"], row.get("reference")
    own = statistics.median(ours["seconds"])
    rate = ours["flops"] / own / 1e9
    packed = ours["memory"]["packed"]
    cells = [ROWS[name].label, classes, str(len(ours["seconds"]))]
    if reference:
        theirs = statistics.median(reference["seconds"])
        cells += [f"{theirs:.2f}", f"{own:.2f}", f"{theirs / own:.1f}"]
        fewer = reference["flops"] / ours["flops"]
        gain = row["gemm"]["packed"] / row["gemm"]["linear"] if packed else 1.0
        cells += [f"{fewer:.1f}", f"{fewer * gain:.1f}"]
    else:
        cells += [row["left_out"], f"{own:.2f}", "", "", ""]
    cells += [f"{ours['flops'] / 1e9:.0f}", f"{100 * rate / max(row['gemm'].values()):.0f} %"]
    cells += [gigabytes(reference["memory"]) if reference else "", gigabytes(ours["memory"])]
    cells.append(f"{packed:.2f}" if packed else "none")
    apart = row.get("difference")
    return [*cells, f"{apart['gradient']:.0e}" if apart else ""]


def gigabytes(memory: dict) -> str:
    """Return the peak without CLIP itself and packed weights, and the whole peak."""
    return f"{memory['peak'] - memory['loaded'] - memory['packed']:.2f} ({memory['peak']:.2f})"


def description(found: dict) -> str:
    """Return a line on backbone, machine, precision and the rates of its linear layers."""
    machine = found["machine"]
    gemms = [row["gemm"] for row in found["rows"].values()]
    parts = [
        found["size"],
        machine["gpu"] or f"{machine['processor']}, {machine['cores']} cores",
        f"{found['threads']} thread(s)",
        found["precision"],
        f"torch {machine['torch']}",
    ]
    labels = {"linear": "F.linear", "packed": "packed by oneDNN"}
    for name in gemms[0] if gemms else ():
        rates = [gemm[name] for gemm in gemms if gemm[name]]
        if rates:
            kind = labels.get(name, f"F.linear in {name}")
            parts.append(f"{kind} {statistics.median(rates):.0f} GFLOP/s")
    return "; ".join(parts) + "."


def fit(growth: dict) -> dict:
    """Return each curve's points ``(x, seconds, operations)`` and its exponent as a power law.

    The exponent is the slope of the least-squares line through log seconds over log x.
    """
    curves: dict = {}
    for key, found in growth.items():
        curve, x = key.rsplit(" ", 1)
        ours = found["ours"]
        point = (int(x), statistics.median(ours["seconds"]), ours["flops"])
        curves.setdefault(curve, []).append(point)
    return {curve: (sorted(points), _slope(sorted(points))) for curve, points in curves.items()}


def _slope(points: list[tuple]) -> float:
    if len(points) < 2:
        return math.nan
    xs, ys = [math.log(p[0]) for p in points], [math.log(p[1]) for p in points]
    mx, my = statistics.mean(xs), statistics.mean(ys)
    above = sum((x - mx) * (y - my) for x, y in zip(xs, ys, strict=True))
    return above / sum((x - mx) ** 2 for x in xs)


def curves_table(curves: dict) -> str:
    """Return the growth curves as Markdown, one line a point."""
    rows = [
        [curve, x, f"{seconds:.2f}", f"{flops / 1e9:.0f}", f"{exponent:.2f}"]
        for curve, (points, exponent) in curves.items()
        for x, seconds, flops in points
    ]
    headers = ("step by", "", "s", "GFLOP", "fitted exponent")
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True) + "\n"


def plot(curves: dict, file: Path) -> None:
    """Plot the curves to a file, if matplotlib is installed."""
    try:
        import matplotlib
    except ImportError:
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    for curve, (points, exponent) in curves.items():
        xs, ys, _ = zip(*points, strict=True)
        axes.loglog(xs, ys, marker="o", label=f"{curve}: exponent {exponent:.2f}")
    axes.set(xlabel="classes, images in a batch, or blocks with prompts", ylabel="seconds a step")
    axes.legend()
    figure.savefig(file, dpi=120)
    pyplot.close(figure)
