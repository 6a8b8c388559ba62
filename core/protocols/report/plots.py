"""Plots as SVG by matplotlib, in colours that a light and a dark page share."""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

from softprompt.core.base.errors import UserError
from softprompt.core.protocols.report.scores import Score

# Okabe and Ito's colours, which the colour-blind can tell apart, less the too light and too dark.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6BB1")
MARKERS = "osD^vPX*"
GREY = "#808080"
INK = "#010203"  # stands for the page's own colour of text, which takes its place
NEEDLESS = (  # in an SVG that is part of a page, and what takes its place
    (r"<metadata>.*?</metadata>", ""),
    (r"<style .*?</style>", ""),
    (r'<g id="[^"]*"', "<g"),  # would occur in every plot
    (r"font-family: [^;]*; ?", ""),
    (r"(\.\d\d)\d+", r"\1"),  # hundredths of a point
    (r"\s+", " "),
)
WIDTH = 5.4  # inches; the page scales plots to its width


@dataclass(frozen=True)
class Series:
    """What one colour shows."""

    name: str
    scores: dict[str | int, Score | None]  # by row, or by number of shots
    reference: bool = False  # what the others are measured against, in grey


def dots(title: str, rows: Sequence[str], series: Sequence[Series]) -> str:
    """Return a plot with a line for each row, and on it each series' mean with its interval."""
    plt = _pyplot()
    step = 0.2 + 0.1 * len(series)
    figure, axes = plt.subplots(figsize=(WIDTH, 1.1 + step * len(rows)), layout="constrained")
    for index, one in enumerate(series):
        offset = 0.7 * ((index + 0.5) / len(series) - 0.5)
        colour, marker = look(index, one)
        known = [(y, one.scores[row]) for y, row in enumerate(rows) if one.scores.get(row)]
        places = [y + offset for y, _ in known]
        axes.errorbar(
            [score.mean for _, score in known],
            places,
            xerr=[score.half or 0 for _, score in known],
            fmt=marker,
            color=colour,
            capsize=2,
            markersize=5,
            label=one.name,
        )
        for place, (_, score) in zip(places, known, strict=True):
            if score.published and not one.reference:
                axes.plot(score.published.value, place, "x", color=INK, markersize=4)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(axis="x", alpha=0.3)
    return _svg(plt, figure, axes, title, "%")


def curves(title: str, series: Sequence[Series]) -> str:
    """Return accuracy over the number of shots, with each interval as a band."""
    plt = _pyplot()
    figure, axes = plt.subplots(figsize=(WIDTH, 3.6), layout="constrained")
    for index, one in enumerate(series):
        colour, marker = look(index, one)
        points = [(shots, score) for shots, score in sorted(one.scores.items()) if score]
        shots, means = [x for x, _ in points], [score.mean for _, score in points]
        line = "--" if one.reference else "-"
        axes.plot(shots, means, line, marker=marker, color=colour, markersize=5, label=one.name)
        low = [score.mean - (score.half or 0) for _, score in points]
        high = [score.mean + (score.half or 0) for _, score in points]
        axes.fill_between(shots, low, high, color=colour, alpha=0.15, linewidth=0)
        known = [] if one.reference else [point for point in points if point[1].published]
        published = [score.published.value for _, score in known]
        axes.plot([x for x, _ in known], published, "x", color=INK, markersize=5)
    ticks = sorted({shots for one in series for shots in one.scores})
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("images a class")
    axes.grid(alpha=0.3)
    return _svg(plt, figure, axes, title, "")


def look(index: int, series: Series) -> tuple[str, str]:
    """Return a colour and a marker; with 7 of one and 8 of the other, 56 pairs are different."""
    if series.reference:
        return GREY, "|"
    return COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]


def _pyplot():
    try:
        import matplotlib
    except ImportError:
        raise UserError('plots need matplotlib: pip install "softprompt[report]"') from None
    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams.update(
        {
            "svg.fonttype": "none",  # text stays text: small, and in the page's own font
            "text.color": INK,
            "axes.labelcolor": INK,
            "axes.edgecolor": INK,
            "xtick.color": INK,
            "ytick.color": INK,
            "axes.spines.top": False,
            "axes.spines.right": False,
        }
    )
    return plt


def _svg(plt, figure, axes, title: str, unit: str) -> str:
    """Draw, and return the SVG element without what only a file of its own needs."""
    axes.set_xlabel(unit or axes.get_xlabel())
    if not unit:
        axes.set_ylabel("%")
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) > 1:
        columns = max(1, min(len(labels), 60 // (4 + max(map(len, labels)))))
        figure.legend(handles, labels, loc="outside upper left", ncols=columns, frameon=False)
    plt.rcParams["svg.hashsalt"] = (
        title  # the same report is the same bytes, and no id occurs twice
    )
    written = io.StringIO()
    figure.savefig(written, format="svg", transparent=True, metadata={"Date": None})
    plt.close(figure)
    text = written.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    for pattern, instead in NEEDLESS:
        text = re.sub(pattern, instead, text, flags=re.S)
    label = title.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return text.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
