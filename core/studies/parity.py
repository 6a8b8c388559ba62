"""Replay a recorded official training run and compare every number of it.

A record names the official setting; the replay rebuilds it, starts from the same values, returns
the recorded random draws and compares losses, gradients, parameters and logits. Errors are
relative: of a tensor's ``[norm, inner product]`` to the recorded norm, of logits to the largest
|logit|, of a loss to it.
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from softprompt.core.base.errors import UserError
from softprompt.core.base.plugins import import_built_in
from softprompt.core.base.registry import DATASETS, PROMPT_LEARNERS, TRAINERS
from softprompt.core.clip.prompted import PromptedCLIP
from softprompt.core.coop import from_command_line, our_name
from softprompt.core.data.batch import Batch
from softprompt.core.studies.recipe import Recipe, find_recipe, load_recipe
from softprompt.core.studies.watch import record_step, replay_draws

TOLERANCE = 1e-4
EPS = 2.0**-52  # rounding of what is float64 in both, such as learning rates
MARGIN = 5.0  # times what the precision moves: correct replays have had errors of up to 3.2 times


class Found(NamedTuple):
    """The largest relative error of a kind of numbers, and the part of it that may be rounding.

    ``rounding`` is how far the same numbers of ours move with the precision of the replay; it is
    measured only where ``error`` is beyond the tolerance.
    """

    error: float
    rounding: float | None = None

    def differs(self, tolerance: float) -> bool:
        """Whether the error is a difference, and not the rounding of the record."""
        return self.error > max(tolerance, MARGIN * max(self.rounding or 0.0, EPS))


def replay_file(
    file: Path, recipe: Path | None = None, single: bool = False, tolerance: float = TOLERANCE
) -> dict[str, Found]:
    """Replay the record in a JSON file, and tell its rounding from differences.

    Args:
        recipe: the module of its weights and batches; None: see ``find_recipe``.
        single: as for ``replay``.
        tolerance: the largest error that needs no explanation.

    Raises:
        UserError: it is no record, or no setting here corresponds to it.
    """
    try:
        record = json.loads(file.read_text())
        return examine(record, load_recipe(recipe or find_recipe(file)), single, tolerance)
    except (UserError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file} cannot be replayed: {error!r}") from None


def examine(
    record: dict, recipe: Recipe, single: bool = False, tolerance: float = TOLERANCE
) -> dict[str, Found]:
    """Return the largest relative error of each kind of number, with what rounding explains.

    Where one is beyond the tolerance, the run is replayed once more in the other precision. The
    record is in float32, so a number that this moves was moved as far in the record.
    """
    first = replayed(record, recipe, single)
    worst = {kind: Found(error) for kind, error in first.worst.items()}
    if max(first.worst.values()) <= tolerance:
        return worst
    moved = first.apart(replayed(record, recipe, not single))
    return {
        kind: Found(found.error, moved.get(kind, 0.0)) if found.error > tolerance else found
        for kind, found in worst.items()
    }


def replay(record: dict, recipe: Recipe, single: bool = False) -> dict[str, float]:
    """Return the largest relative error of each kind of number.

    Args:
        single: run ours in float32. In float64 only the record's own rounding is left; in float32
            rounding moves the error of ProMetaR's gate gradient between 3.5e-5 and 1.8e-4.
    """
    return dict(replayed(record, recipe, single).worst)


def replayed(record: dict, recipe: Recipe, single: bool) -> "Replay":
    """Return a replay that has run."""
    with default_dtype(torch.float32 if single else torch.float64):
        replay = Replay(record, recipe if single else recipe.in_double())
        replay.run()
    return replay


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Set torch's default dtype within a ``with`` block."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


class Replay:
    """A recorded run beside ours.

    Attributes:
        worst: the largest error of each kind of number.
        numbers: ours in the order in which they are compared: kind, numbers, size of the error's
            unit.
    """

    def __init__(self, record: dict, recipe: Recipe):
        import_built_in()
        self.record = record
        self.recipe = recipe
        self.worst: dict[str, float] = defaultdict(float)
        self.numbers: list[tuple[str, Tensor, float]] = []
        self.clip = recipe.build_clip()
        setting = from_command_line(
            record["official_config"], self.clip.text_depth, self.clip.image_depth
        )
        self.method = setting.method
        names = tuple(record["classnames"])
        torch.manual_seed(0)
        learner = PROMPT_LEARNERS[setting.prompt](self.clip, names, **setting.prompt_options)
        dataset = dataset_of(record["official_config"])
        templates = DATASETS[dataset].templates if dataset in DATASETS else {}
        self.model = PromptedCLIP(self.clip, learner, names, templates)
        start = record["init"]
        self.start(learner, start["prompt"], start.get("seed", 7), start.get("std", 0.02))
        self.trainer = TRAINERS[setting.trainer](self.model, **setting.trainer_options)
        if "vnet" in start:
            seed, std = start.get("vnet_seed", 8), start.get("vnet_std", 0.05)
            self.start(self.trainer, start["vnet"], seed, std)
        self.trainer.prepare(setting.optim)

    def start(self, module: nn.Module, shapes: dict, seed: int, std: float) -> None:
        """Set a module's trained tensors to the recorded start values."""
        values = self.recipe.init(shapes, seed, std)
        named = {our_name(self.method, name): value for name, value in values.items()}
        own = {
            name: tuple(value.shape)
            for name, value in module.named_parameters()
            if not name.startswith("model.")
        }
        given = {name: tuple(value.shape) for name, value in named.items()}
        if own != given:
            raise UserError(f"the record trains {given}, the setting it names {own}")
        module.load_state_dict(named, strict=False)

    def compare(self, kind: str, error: float) -> None:
        """Keep the largest error of a kind."""
        self.worst[kind] = max(self.worst[kind], error)

    def compare_numbers(self, kind: str, ours: Any, theirs: Any, size: float) -> None:
        """Compare numbers, by the largest difference in units of ``size``."""
        mine, official = (torch.as_tensor(each, dtype=torch.float64) for each in (ours, theirs))
        self.numbers.append((kind, mine, size))
        self.compare(kind, ratio((mine - official).abs().max().item(), size))

    def apart(self, other: "Replay") -> dict[str, float]:
        """Return how far another replay of the same record is, by kind, as errors are measured."""
        found: dict[str, float] = defaultdict(float)
        for (kind, mine, size), (_, theirs, _) in zip(self.numbers, other.numbers, strict=False):
            found[kind] = max(found[kind], ratio((mine - theirs).abs().max().item(), size))
        return found

    def compare_tensor(self, kind: str, ours: Tensor, theirs: list[float]) -> None:
        self.compare_numbers(kind, self.recipe.probe(ours), theirs, theirs[0])

    def compare_logits(self, images: Tensor, theirs: list) -> None:
        with torch.no_grad():
            ours = self.model(images).logits
        self.compare_numbers("logits", ours, theirs, torch.tensor(theirs).abs().max().item())

    def run(self) -> dict[str, float]:
        """Train as recorded; return the largest relative error of each kind of number."""
        images, labels, test_images = self.recipe.batches()
        self.compare_tokens()
        self.compare_logits(test_images, self.record["eval_logits_init"])
        size = self.record["batch"]
        for index, step in enumerate(self.record["steps"]):
            self.trainer.start_epoch(index)
            rate = self.trainer.learning_rates(index)["prompts"]
            self.compare_numbers("rate", rate, step["lr"], step["lr"])
            batch = Batch(images[index, :size], labels[index, :size])
            with replay_draws(step.get("draws", [])), record_step(self.trainer) as seen:
                terms = self.trainer.step(batch)
            self.trainer.after_epoch(index)
            self.compare_losses(step, seen, terms)
            self.compare_updates(step, seen)
            if "gpa" in step:
                for name, theirs in step["gpa"].items():
                    own = our_name(self.method, name).replace(".", "/")
                    ours = self.trainer.get_buffer(f"average/{own}")
                    self.compare_tensor("average", ours, theirs)
            if "gauss" in step:
                weight = self.trainer.epoch_weights[index]
                self.compare_numbers("average", weight, step["gauss"], step["gauss"])
        params = self.model.params()
        for name, theirs in self.record["final"].items():
            self.compare_tensor("parameter", params[our_name(self.method, name)], theirs)
        self.compare_logits(test_images, self.record["eval_logits_final"])
        return dict(self.worst)

    def compare_tokens(self) -> None:
        for theirs, ours in zip(
            self.record["tokenized_prompts"] or [], self.model.sentences.ids.tolist(), strict=False
        ):
            # A moved class token moves ids, which the official list does not show.
            moved = self.model.learner.position != "end"
            same = (
                sorted(ours[: len(theirs)]) == sorted(theirs)
                if moved
                else (ours[: len(theirs)] == theirs)
            )
            self.compare("tokens", 0.0 if same else float("inf"))

    def compare_losses(self, step: dict, seen: dict, terms: dict) -> None:
        ours = [(name, value) for name, values in seen["losses"] for value in flat(values)]
        theirs = [(name, value) for name, values in step["losses"] for value in flat(values)]
        if [name for name, _ in ours] != [name for name, _ in theirs]:
            self.compare("loss", float("inf"))
        for (_, mine), (_, official) in zip(ours, theirs, strict=False):
            self.compare_numbers("loss", mine, official, abs(official))
        for name, value in headline(self.method, terms, self.trainer).items():
            if name in step["loss_summary"]:
                official = step["loss_summary"][name]
                self.compare_numbers("loss", value, official, abs(official))

    def compare_updates(self, step: dict, seen: dict) -> None:
        if len(seen["updates"]) != len(step["updates"]):
            self.compare("gradient", float("inf"))
        for ours, theirs in zip(seen["updates"], step["updates"], strict=False):
            self.compare_numbers("rate", ours["lr"], theirs["lr"], theirs["lr"])
            for kind, key in (("gradient", "grads"), ("parameter", "after")):
                for name, pair in theirs[key].items():
                    tensor = ours[key].get(our_name(self.method, name))
                    if tensor is None:
                        self.compare(kind, float("inf"))
                    else:
                        self.compare_tensor(f"{kind} of the {theirs['of']}", tensor, pair)
        for ours, theirs in zip(seen["raw"], step.get("raw_backward_grads", []), strict=False):
            for name, pair in theirs.items():
                tensor = ours[our_name(self.method, name)]
                self.compare_tensor("gradient before projection", tensor, pair)


def ratio(apart: float, size: float) -> float:
    """Return a relative error: infinity for NaN, and for a difference from 0."""
    if apart == 0:
        return 0.0
    return apart / size if size > 0 and apart == apart else float("inf")


def flat(values: list | float) -> list[float]:
    """Return the numbers of a nested list in order."""
    return [x for value in values for x in flat(value)] if isinstance(values, list) else [values]


def headline(method: str, terms: dict[str, Tensor], trainer: Any) -> dict[str, float]:
    """Return the losses that the official trainer prints, from the terms that ours logs."""
    values = {name: value.item() for name, value in terms.items()}
    if method == "ProMetaR":
        return {"loss": trainer.lr_ratio * values.get("outer", 0.0)}
    if method == "ProGrad":
        return {"xe_loss": values["ce"], "kl_loss": values["kl"]}
    return {"loss": sum(value for name, value in values.items() if name != "loss")}


def dataset_of(arguments: list[str]) -> str:
    """Return the dataset of an official command line, or "" if it names none."""
    places = [i for i, word in enumerate(arguments) if word == "--dataset-config-file"]
    return Path(arguments[places[-1] + 1]).stem if places else ""
