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
from typing import Any

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


def replay_file(file: Path, recipe: Path | None = None, single: bool = False) -> dict[str, float]:
    """Replay the record in a JSON file; see ``replay``.

    Args:
        recipe: the module of its weights and batches; None: see ``find_recipe``.

    Raises:
        UserError: it is no record, or no setting here corresponds to it.
    """
    try:
        record = json.loads(file.read_text())
        return replay(record, load_recipe(recipe or find_recipe(file)), single)
    except (UserError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file} cannot be replayed: {error!r}") from None


def replay(record: dict, recipe: Recipe, single: bool = False) -> dict[str, float]:
    """Return the largest relative error of each kind of number.

    Args:
        single: run ours in float32. In float64 only the record's own rounding is left; in float32
            rounding moves the error of ProMetaR's gate gradient between 3.5e-5 and 1.8e-4.
    """
    if single:
        return Replay(record, recipe).run()
    with default_dtype(torch.float64):
        return Replay(record, recipe.in_double()).run()


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
    """A recorded run beside ours; ``worst`` maps each kind of number to its largest error."""

    def __init__(self, record: dict, recipe: Recipe):
        import_built_in()
        self.record = record
        self.recipe = recipe
        self.worst: dict[str, float] = defaultdict(float)
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

    def compare_tensor(self, kind: str, ours: Tensor, theirs: list[float]) -> None:
        norm, inner = self.recipe.probe(ours)
        apart = max(abs(norm - theirs[0]), abs(inner - theirs[1]))
        self.compare(kind, ratio(apart, theirs[0]))

    def compare_logits(self, images: Tensor, theirs: list) -> None:
        with torch.no_grad():
            ours = self.model(images).logits
        official = torch.tensor(theirs)
        apart = (ours - official).abs().max().item()
        self.compare("logits", ratio(apart, official.abs().max().item()))

    def run(self) -> dict[str, float]:
        """Train as recorded; return the largest relative error of each kind of number."""
        images, labels, test_images = self.recipe.batches()
        self.compare_tokens()
        self.compare_logits(test_images, self.record["eval_logits_init"])
        size = self.record["batch"]
        for index, step in enumerate(self.record["steps"]):
            self.trainer.start_epoch(index)
            rate = self.trainer.learning_rates(index)["prompts"]
            self.compare("rate", ratio(abs(rate - step["lr"]), step["lr"]))
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
                self.compare("average", ratio(abs(weight - step["gauss"]), step["gauss"]))
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
            self.compare("loss", ratio(abs(mine - official), abs(official)))
        for name, value in headline(self.method, terms, self.trainer).items():
            if name in step["loss_summary"]:
                official = step["loss_summary"][name]
                self.compare("loss", ratio(abs(value - official), abs(official)))

    def compare_updates(self, step: dict, seen: dict) -> None:
        if len(seen["updates"]) != len(step["updates"]):
            self.compare("gradient", float("inf"))
        for ours, theirs in zip(seen["updates"], step["updates"], strict=False):
            self.compare("rate", ratio(abs(ours["lr"] - theirs["lr"]), theirs["lr"]))
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
