"""The tables of ``tools/gram_controls.py``, made from the folders of its runs alone."""

from statistics import mean, stdev

from _controls import CONTROLS, CURVES, EPOCHS, SETS, SHOTS, Trained

MISSING = "–"
CAPTION = (
    "Accuracy in percent on base / new classes of `shapes` and their harmonic mean H (its standard "
    "deviation over seeds), then on the base classes in the four shifted domains, on average; "
    "backbone tiny, 16 shots, the budget of `configs/base/matrix.yaml`; seeds {seeds}."
)
CURVES_CAPTION = "Base / new by epochs at 16 shots, and by shots after all epochs."


def markdown(runs: list[Trained]) -> str:
    """Return the tables of the runs, of which some may not have finished yet.

    Raises:
        UserError: none has.
    """
    from tabulate import tabulate

    from softprompt.core.base.errors import UserError

    found = [run for run in runs if run.finished()]
    if not found:
        raise UserError(f"none of the {len(runs)} runs has finished yet")
    learners = list(dict.fromkeys(run.learner for run in runs))
    seeds = _seeds(runs)

    def chosen(learner: str, name: str, shots: int) -> list[Trained]:
        return [r for r in found if (r.learner, r.name, r.shots) == (learner, name, shots)]

    main = [
        [
            label,
            *(cell for each in learners for cell in _main(chosen(each, name, SHOTS[-1]), seeds)),
        ]
        for name, (_, _, label) in CONTROLS.items()
        if any(run.name == name for run in runs)
    ]
    heads = ["", *(head for each in learners for head in (f"`{each}`", "shifted"))]
    parts = [CAPTION.format(seeds=seeds), tabulate(main, heads, "github", disable_numparse=True)]
    curves = [
        [f"`{learner}`, {name}", *_curve(learner, name, chosen, seeds)]
        for learner in learners
        for name in CURVES
        if chosen(learner, name, SHOTS[-1])
    ]
    if curves:
        epochs = [f"{epoch} epoch{'s' * (epoch > 1)}" for epoch in EPOCHS]
        heads = ["", *epochs, *(f"{shots} shot{'s' * (shots > 1)}" for shots in SHOTS)]
        parts += [CURVES_CAPTION, tabulate(curves, heads, "github", disable_numparse=True)]
    return "\n\n".join(parts) + "\n"


def _seeds(runs: list[Trained]) -> str:
    return ", ".join(str(seed) for seed in sorted({run.seed for run in runs}))


def _main(runs: list[Trained], seeds: str) -> tuple[str, str]:
    """Return two cells, which say so where not all seeds are there."""
    from softprompt.core.engine.evaluate import harmonic_mean

    if not runs:
        return MISSING, MISSING
    base, new = _means([run.scores() for run in runs])
    each = [harmonic_mean(*(run.scores()[name] for name in SETS)) for run in runs]
    spread = f" ± {stdev(each):.1f}" if len(each) > 1 else ""
    some = "" if _seeds(runs) == seeds else f" (seeds {_seeds(runs)})"
    h = harmonic_mean(base, new)
    return (
        f"{base:.1f} / {new:.1f} / {h:.1f}{spread}{some}",
        f"{mean(r.shifted() for r in runs):.1f}",
    )


def _curve(learner: str, name: str, chosen, seeds: str) -> list[str]:
    cells = [(f"epoch{epoch}", chosen(learner, name, SHOTS[-1])) for epoch in EPOCHS]
    cells += [("", chosen(learner, name, shots)) for shots in SHOTS]
    found = []
    for evaluation, runs in cells:
        if not runs:
            found.append(MISSING)
            continue
        some = "" if _seeds(runs) == seeds else f" (seeds {_seeds(runs)})"
        base, new = _means([run.scores(evaluation) for run in runs])
        found.append(f"{base:.1f} / {new:.1f}{some}")
    return found


def _means(scores: list[dict[str, float]]) -> tuple[float, float]:
    base, new = (mean(each[name] for each in scores) for name in SETS)
    return base, new
