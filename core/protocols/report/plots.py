"""Plots as SVG by matplotlib, in colours that a light and a dark page share."""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from softprompt.core.base.errors import UserError
from softprompt.core.base.escape import as_html, one_line
from softprompt.core.protocols.report.scores import Score

# Okabe and Ito's colours, which the colour-blind can tell apart, without the too light and dark.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6BB1")
MARKERS = "osD^vPX*"
CHARACTERS = dict(zip(f"{MARKERS}|", "●■◆▲▼✚✖★┃", strict=True))  # in a legend
GREY = "#808080"
INK = "#010203"  # a placeholder that the page's own text colour replaces
REDUCTIONS = (  # patterns that an SVG within a page does not need, and their replacement
    (r"<metadata>.*?</metadata>", ""),
    (r"<style .*?</style>", ""),
    (r'<g id="[^"]*"', "<g"),  # every plot would use the same ids
    (r"font-family: [^;]*; ?", ""),
    (r"(\.\d\d)\d+", r"\1"),  # hundredths of a point
    (r"\s+", " "),
)
WIDTH = 5.4  # inches; the page scales plots to its width


@dataclass(frozen=True)
class Series:
    """The scores that are drawn in one colour; the page has one legend for all plots."""

    place: int  # among all methods of the page: chooses colour and marker
    scores: Mapping[str | int, Score | None]  # by row, or by number of shots
    reference: bool = False  # in grey: the others are compared with it


def dots(
    title: str, rows: Sequence[str], series: Sequence[Series], named: Callable[[str], str] = str
) -> str:
    """Return a plot with one line a row, which holds each series' mean with its interval.

    Args:
        named: returns the name to print of a row.
    """
    plt = _pyplot()
    step = 0.2 + 0.1 * len(series)
    figure, axes = plt.subplots(figsize=(WIDTH, 1.1 + step * len(rows)), layout="constrained")
    for index, one in enumerate(series):
        offset = 0.7 * ((index + 0.5) / len(series) - 0.5)
        colour, marker = look(one.place, reference=one.reference)
        known = [(y, score) for y, row in enumerate(rows) if (score := one.scores.get(row))]
        places = [y + offset for y, _ in known]
        axes.errorbar(
            [score.mean for _, score in known],
            places,
            xerr=[score.half or 0 for _, score in known],
            fmt=marker,
            color=colour,
            capsize=2,
            markersize=5,
        )
        for place, (_, score) in zip(places, known, strict=True):
            if score.published and not one.reference:
                axes.plot(score.published.value, place, "x", color=INK, markersize=4)
    axes.set_yticks(range(len(rows)), [one_line(named(row)) for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(axis="x", alpha=0.3)
    return _svg(plt, figure, axes, title, "%")


def curves(title: str, series: Sequence[Series]) -> str:
    """Return a plot of accuracy over the number of shots, with each interval as a band."""
    plt = _pyplot()
    figure, axes = plt.subplots(figsize=(WIDTH, 3.6), layout="constrained")
    for one in series:
        colour, marker = look(one.place, reference=one.reference)
        points = [(int(shots), score) for shots, score in one.scores.items() if score]
        points.sort(key=lambda point: point[0])
        shots, means = [x for x, _ in points], [score.mean for _, score in points]
        line = "--" if one.reference else "-"
        axes.plot(shots, means, line, marker=marker, color=colour, markersize=5)
        low = [score.mean - (score.half or 0) for _, score in points]
        high = [score.mean + (score.half or 0) for _, score in points]
        axes.fill_between(shots, low, high, color=colour, alpha=0.15, linewidth=0)
        published = [
            (shots, score.published.value)
            for shots, score in points
            if score.published and not one.reference
        ]
        values = [value for _, value in published]
        axes.plot([x for x, _ in published], values, "x", color=INK, markersize=5)
    ticks = sorted({int(shots) for one in series for shots in one.scores})
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("images a class")
    axes.grid(alpha=0.3)
    return _svg(plt, figure, axes, title, "")


def look(place: int, *, reference: bool = False) -> tuple[str, str]:
    """Return a colour and a marker; 7 colours and 8 markers make 56 different pairs."""
    if reference:
        return GREY, "|"
    return COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]


def legend(names: Sequence[str], reference: str = "") -> list[tuple[str, str, str]]:
    """Return the colour, the character that looks like the marker, and the name of each series.

    Args:
        reference: the name of what the others are compared with, if it is drawn.
    """
    looks = [(*look(place), name) for place, name in enumerate(names)]
    looks += [(*look(0, reference=True), reference)] if reference else []
    return [(colour, CHARACTERS[marker], name) for colour, marker, name in looks]


def _pyplot():
    try:
        import matplotlib
    except ImportError:
        raise UserError('plots need matplotlib: pip install "softprompt[report]"') from None
    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams.update(
        {
            "text.parse_math": False,  # a name may hold dollars
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
    """Return the figure as an SVG element, without what only a separate file needs."""
    axes.set_xlabel(unit or axes.get_xlabel())
    if not unit:
        axes.set_ylabel("%")
    # The ids are then the same for the same report, and differ between plots.
    plt.rcParams["svg.hashsalt"] = one_line(title)
    written = io.StringIO()
    figure.savefig(written, format="svg", transparent=True, metadata={"Date": None})
    plt.close(figure)
    text = written.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    for pattern, instead in REDUCTIONS:
        text = re.sub(pattern, instead, text, flags=re.S)
    return text.replace("<svg ", f'<svg role="img" aria-label="{as_html(title)}" ', 1)
