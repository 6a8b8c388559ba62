"""How a training step's cost grows with classes, batch and prompt depth."""

import math
import statistics
from pathlib import Path

BATCH, DEPTH = "DATALOADER.TRAIN_X.BATCH_SIZE", "PROMPT.MAPLE.PROMPT_DEPTH"
CLASSES = (10, 30, 100, 300, 1000)
# By curve: the row, and for each point its place, the number of classes and the settings.
CURVES = {
    "CoCoOp, classes": ("cocoop", [(n, n, []) for n in CLASSES]),
    "MaPLe, classes": ("maple", [(n, n, []) for n in CLASSES]),
    "MaPLe, batch": ("maple", [(n, 10, [BATCH, str(n)]) for n in (1, 2, 4, 8, 16)]),
    "MaPLe, depth": ("maple", [(n, 10, [DEPTH, str(n)]) for n in (1, 3, 6, 9, 12)]),
}


def fitted(growth: dict) -> dict:
    """Return each curve's points ``(x, seconds, operations)`` and the exponent of a power law.

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


def plot(curves: dict, file: Path) -> None:
    """Draw the curves to a file, where matplotlib is installed."""
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
