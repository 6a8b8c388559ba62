"""The table of the matrix, made only from the folders of its runs."""

from collections.abc import Sequence

from tabulate import tabulate

from softprompt.core.base.errors import UserError
from softprompt.core.base.escape import as_markdown, as_markdown_code
from softprompt.core.base.formats import Shape, check_shape
from softprompt.core.config.saved import saved_yaml
from softprompt.core.engine.results import harmonic_mean
from softprompt.core.protocols.plans.matrix import MatrixRun
from softprompt.core.protocols.runs import accuracies
from softprompt.core.protocols.stored import damage_of, read_run

CAPTION = (
    "Accuracy on base / new classes and their harmonic mean H in percent on `{dataset}`, "
    "{shots}, backbone {backbone}; {seeds}. "
    "{epochs} epochs in batches of {batch}, {optimizer} at {rate:g}: one budget for all pairs, "
    "tuned for none. Each learner's and each trainer's own options are those of "
    "`configs/<name>/tiny.yaml` (`configs/<name>/<learner>_tiny.yaml` where there are such), or "
    "else its defaults."
)
MISSING = "–"
# What the table needs of a run's config.yaml.
SETTINGS: Shape = {
    "SEED": int,
    "OUTPUT_DIR": str,
    "PLUGINS": object,
    "PROMPT": dict,
    "TRAINER": dict,
    "DATASET": {"NAME": str, "NUM_SHOTS": int, "ROOT": str},
    "MODEL": {"BACKBONE": {"NAME": str}},
    "OPTIM": {"NAME": str, "LR": (int, float), "MAX_EPOCH": int},
    "DATALOADER": {"TRAIN_X": {"BATCH_SIZE": int}},
    "TEST": {"MAX_IMAGES": int},
}
Scores = dict[MatrixRun, dict[str, float]]  # accuracy by class set, of the finished runs


def matrix_markdown(runs: Sequence[MatrixRun]) -> str:
    """Return caption, table and notes of the runs, of which some may not have finished yet.

    Raises:
        UserError: none has, or finished ones differ in settings that they should share.
    """
    damaged = {run: damage for run in runs if (damage := damage_of(run.folder))}
    sound = [run for run in runs if run not in damaged]
    scores = {run: found for run in sound if (found := accuracies(run.folder, ("base", "new")))}
    if not scores:
        raise UserError(
            next(iter(damaged.values()), f"none of the {len(runs)} runs has finished yet")
        )
    trainers = list(dict.fromkeys(run.trainer for run in runs if run.trainer))
    rows = []
    for learner in dict.fromkeys(run.learner for run in runs):
        own = [run for run in runs if run.learner == learner]
        if not own[0].trainer:
            name = f"{as_markdown_code(learner)} (not trained)"
            rows.append([name, *[_mean(own, scores)] * len(trainers)])
            continue
        pairs = [[run for run in own if run.trainer == trainer] for trainer in trainers]
        rows.append([as_markdown_code(learner), *(_mean(pair, scores) for pair in pairs)])
    headers = ["prompt learner", *map(as_markdown_code, trainers)]
    table = tabulate(rows, headers, "github", disable_numparse=True)
    results = {run: read_run(run.folder) or {} for run in scores}
    left_out = [f"**Left out: {as_markdown(damage)}.**" for damage in damaged.values()]
    caption = "\n".join([_caption(runs, results), *left_out])
    return "\n\n".join([caption, table, *_notes(results)]) + "\n"


def _mean(pair: list[MatrixRun], scores: Scores) -> str:
    """Return ``base / new / H`` of one pair's seeds, and which seeds unless all have finished."""
    finished = [run for run in pair if run in scores]
    if not finished:
        return MISSING
    base, new = (
        sum(scores[run][subset] for run in finished) / len(finished) for subset in ("base", "new")
    )
    text = f"{base:.1f} / {new:.1f} / {harmonic_mean(base, new):.1f}"
    return text if len(finished) == len(pair) else f"{text} ({_seeds(finished)} only)"


def _caption(runs: Sequence[MatrixRun], results: dict[MatrixRun, dict]) -> str:
    """Return how the numbers were measured, and what is missing or doubtful about them."""
    shared = _shared_settings(list(results))
    optim, data = shared["OPTIM"], shared["DATASET"]
    seeds = _seeds([run for run in runs if run.trainer])
    lines = [
        CAPTION.format(
            dataset=data["NAME"],
            shots="all pictures" if data["NUM_SHOTS"] < 0 else f"{data['NUM_SHOTS']} shots",
            backbone=shared["MODEL"]["BACKBONE"]["NAME"],
            seeds=f"means of {seeds}, H of the two means" if "," in seeds else f"{seeds} alone",
            epochs=optim["MAX_EPOCH"],
            batch=shared["DATALOADER"]["TRAIN_X"]["BATCH_SIZE"],
            optimizer=optim["NAME"],
            rate=optim["LR"],
        )
    ]
    if len(results) < len(runs):
        lines.append(
            f"**Incomplete: {len(runs) - len(results)} of {len(runs)} runs are missing** "
            f"({MISSING}: no seed yet)."
        )
    if shared["TEST"]["MAX_IMAGES"]:
        lines.append(f"**Tested on {shared['TEST']['MAX_IMAGES']} pictures of each class set.**")
    warnings = [warning for each in results.values() for warning in each["warnings"]]
    lines += dict.fromkeys(f"**{as_markdown(warning)}.**" for warning in warnings)
    commits = {str(each["environment"].get("commit")) for each in results.values()}
    if len(commits) > 1:
        lines.append(f"The runs are of {len(commits)} versions of the code.")
    return "\n".join(lines)


def _notes(results: dict[MatrixRun, dict]) -> list[str]:
    """Return what trainers noted about their pairs, such as a start that only some of them have."""
    noted = {}
    for run, each in results.items():
        train = each.get("train")
        note = train.get("note") if isinstance(train, dict) else None
        if isinstance(note, str):
            pair = " under ".join(map(as_markdown_code, (run.learner, run.trainer)))
            noted[f"* {pair}: {as_markdown(note)}"] = None
    return ["\n".join(noted)] if noted else []


def _shared_settings(runs: list[MatrixRun]) -> dict:
    """Return the settings that all runs share.

    Raises:
        UserError: they differ: in the budget, in a learner's options or in a pair's.
    """
    seen: dict[tuple[str, str], tuple[MatrixRun, dict]] = {}
    for run in runs:
        file = run.folder / "config.yaml"
        tree = saved_yaml(file)
        check_shape(file, tree, SETTINGS)
        for key in ("SEED", "OUTPUT_DIR", "PLUGINS"):
            tree.pop(key, None)
        tree["DATASET"].pop("ROOT", None)
        groups = {
            ("learner", run.learner): tree.pop("PROMPT"),
            ("pair", run.model): tree.pop("TRAINER"),
            ("all", ""): tree,
        }
        for group, settings in groups.items():
            first, expected = seen.setdefault(group, (run, settings))
            different = _difference(expected, settings)
            if different:
                raise UserError(
                    f"{first.folder} and {run.folder} were run with different settings "
                    f"({different}); a matrix needs one budget, so give another --output-dir"
                )
    return seen["all", ""][1]


def _difference(one: dict, other: dict, prefix: str = "") -> str:
    """Return the first key that differs with both its values, or "" if none does."""
    for key in one.keys() | other.keys():
        a, b = one.get(key), other.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            deeper = _difference(a, b, f"{prefix}{key}.")
            if deeper:
                return deeper
        elif a != b:
            return f"{prefix}{key} {a!r} and {b!r}"
    return ""


def _seeds(runs: list[MatrixRun]) -> str:
    seeds = [str(seed) for seed in dict.fromkeys(run.seed for run in runs)]
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(seeds)}"
