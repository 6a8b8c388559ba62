"""The tables of ``tools/gram_controls.py``, made only from the folders of its runs."""

from collections.abc import Sequence
from statistics import mean, stdev

from tabulate import tabulate

from softprompt.core.base.errors import UserError
from softprompt.core.base.escape import as_markdown
from softprompt.core.engine.results import harmonic_mean
from softprompt.core.meta.controls import CONTROLS, CURVES, EPOCHS, SETS, SHIFTED, SHOTS, Training
from softprompt.core.protocols.report.table import shots_label

MISSING = "–"
CAPTION = (
    "Accuracy in percent on base / new classes of `shapes` and their harmonic mean H (its standard "
    "deviation over seeds), then on the base classes in the four shifted domains, on average; "
    "backbone tiny, 16 shots, the budget of `configs/base/matrix.yaml`; seeds {seeds}."
)
CURVES_CAPTION = "Base / new by epochs at 16 shots, and by shots after all epochs."


def controls_markdown(runs: Sequence[Training]) -> str:
    """Return the tables of the trainings, of which some may not have finished yet.

    Raises:
        UserError: none has.
    """
    finished = [run for run in runs if run.finished()]
    damaged = [damage for run in runs for damage in run.damages()]
    if not finished:
        raise UserError(damaged[0] if damaged else f"none of the {len(runs)} runs has finished yet")
    learners = list(dict.fromkeys(run.learner for run in runs))
    seeds = _seeds(runs)

    def chosen(learner: str, name: str, shots: int) -> list[Training]:
        return [r for r in finished if (r.learner, r.name, r.shots) == (learner, name, shots)]

    main = [
        [
            label,
            *(cell for each in learners for cell in _main(chosen(each, name, SHOTS[-1]), seeds)),
        ]
        for name, (_, _, label) in CONTROLS.items()
        if any(run.name == name for run in runs)
    ]
    heads = ["", *(head for each in learners for head in (f"`{each}`", "shifted"))]
    caption = [CAPTION.format(seeds=seeds)]
    caption += [f"**Left out: {as_markdown(damage)}.**" for damage in damaged]
    parts = ["\n".join(caption), tabulate(main, heads, "github", disable_numparse=True)]
    curves = []
    for learner in learners:
        for name in CURVES:
            most = chosen(learner, name, SHOTS[-1])
            if most:
                row = [_curve(most, f"epoch{epoch}", seeds) for epoch in EPOCHS]
                row += [_curve(chosen(learner, name, shots), "", seeds) for shots in SHOTS]
                curves.append([f"`{learner}`, {name}", *row])
    if curves:
        epochs = [f"{epoch} epoch{'s' * (epoch > 1)}" for epoch in EPOCHS]
        heads = ["", *epochs, *map(shots_label, SHOTS)]
        parts += [CURVES_CAPTION, tabulate(curves, heads, "github", disable_numparse=True)]
    return "\n\n".join(parts) + "\n"


def _main(runs: list[Training], seeds: str) -> tuple[str, str]:
    """Return two cells, which state the seeds if some are missing."""
    if not runs:
        return MISSING, MISSING
    scores = [run.scores() or {} for run in runs]
    base, new = (mean(each[subset] for each in scores) for subset in SETS)
    by_seed = [harmonic_mean(*(each[subset] for subset in SETS)) for each in scores]
    spread = f" ± {stdev(by_seed):.1f}" if len(by_seed) > 1 else ""
    shifted = [(run.scores(name) or {})["base"] for run in runs for name in SHIFTED]
    return (
        f"{base:.1f} / {new:.1f} / {harmonic_mean(base, new):.1f}{spread}{_only(runs, seeds)}",
        f"{mean(shifted):.1f}",
    )


def _curve(runs: list[Training], evaluation: str, seeds: str) -> str:
    if not runs:
        return MISSING
    scores = [run.scores(evaluation) or {} for run in runs]
    base, new = (mean(each[subset] for each in scores) for subset in SETS)
    return f"{base:.1f} / {new:.1f}{_only(runs, seeds)}"


def _only(runs: Sequence[Training], seeds: str) -> str:
    """Return a remark if these runs do not have all seeds."""
    return "" if _seeds(runs) == seeds else f" (seeds {_seeds(runs)})"


def _seeds(runs: Sequence[Training]) -> str:
    return ", ".join(str(seed) for seed in sorted({run.seed for run in runs}))
