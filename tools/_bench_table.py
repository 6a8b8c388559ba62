"""The benchmark's findings as Markdown."""

import statistics

from _bench_cases import ROWS
from tabulate import tabulate

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
    """Return the table of all rows and a line on the machine."""
    rows = [line(key, row) for key, row in sorted(found["rows"].items(), key=order)]
    text = tabulate(rows, HEADERS, tablefmt="github", disable_numparse=True) + "\n"
    return f"{text}\n{described(found)}\n"


def order(item: tuple) -> tuple:
    name, classes = item[0].split()
    return [*ROWS].index(name), int(classes)


def line(key: str, row: dict) -> list[str]:
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
    """The peak beyond CLIP itself and packed weights, and the whole peak."""
    return f"{memory['peak'] - memory['loaded'] - memory['packed']:.2f} ({memory['peak']:.2f})"


def described(found: dict) -> str:
    machine = found["machine"]
    gemms = [row["gemm"] for row in found["rows"].values()]
    parts = [
        found["size"],
        machine["gpu"] or f"{machine['processor']}, {machine['cores']} cores",
        f"{found['threads']} thread(s)",
        found["precision"],
        f"torch {machine['torch']}",
    ]
    said = {"linear": "F.linear", "packed": "packed by oneDNN"}
    for name in gemms[0] if gemms else ():
        rates = [gemm[name] for gemm in gemms if gemm[name]]
        if rates:
            kind = said.get(name, f"F.linear in {name}")
            parts.append(f"{kind} {statistics.median(rates):.0f} GFLOP/s")
    return "; ".join(parts) + "."


def curves_table(curves: dict) -> str:
    """Return the growth curves as Markdown, one line a point."""
    rows = [
        [curve, x, f"{seconds:.2f}", f"{flops / 1e9:.0f}", f"{exponent:.2f}"]
        for curve, (points, exponent) in curves.items()
        for x, seconds, flops in points
    ]
    headers = ("step by", "", "s", "GFLOP", "fitted exponent")
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True) + "\n"
