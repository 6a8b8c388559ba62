"""Measuring a classifier on one class set.

The tests compare the metrics with those of torchmetrics. Here they are written out: importing
that package takes as long as importing torch, for these few lines.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from softprompt.core.base.errors import UserError
from softprompt.core.clip.images import Images, as_images
from softprompt.core.clip.prompted import PromptedCLIP, prompts_images
from softprompt.core.data.batch import Batch
from softprompt.core.data.fewshot import class_subset
from softprompt.core.engine.results import harmonic_mean
from softprompt.core.prompts.base import Prompts

BINS = 15  # of the expected calibration error


@torch.no_grad()
def predict(
    models: dict[str, PromptedCLIP], batches: Iterable[Batch]
) -> tuple[dict[str, Tensor], Tensor]:
    """Return each model's logits ``(images, classes)``, and the labels ``(images,)``, on the CPU.

    Every image is read once for all models, and encoded once for those without image prompts. The
    text is encoded once, not once a batch, unless the prompts depend on the image.

    Raises:
        UserError: a logit is NaN or infinite, so that no number would mean anything.
    """
    classifiers = {name: Classifier(model) for name, model in models.items()}
    logits: dict[str, list[Tensor]] = {name: [] for name in models}
    labels = []
    for batch in batches:
        for name, classifier in classifiers.items():
            logits[name].append(classifier(batch).cpu())
            check_logits(logits[name][-1], name)
        labels.append(batch.host_labels)
    return {name: torch.cat(parts) for name, parts in logits.items()}, torch.cat(labels)


def check_logits(logits: Tensor, model: str) -> None:
    """Raise ``UserError`` unless all logits of a model are finite."""
    if not logits.isfinite().all():
        raise UserError(
            f"the logits of {model} are not finite, so nothing is reported: the prompts have grown "
            "too large, as after a training that diverged in its last steps, or the weights or a "
            "picture are damaged; a smaller OPTIM.LR or MODEL.PRECISION fp32 may help"
        )


def need_images(models: Iterable[PromptedCLIP]) -> bool:
    """Whether a model needs more of an image than its unprompted features."""
    return any(
        model.learner.needs_images or prompts_images(model.learner, model.clip) for model in models
    )


class Classifier:
    """A model with everything precomputed that does not depend on the image."""

    def __init__(self, model: PromptedCLIP):
        self.model = model
        self.fixed: tuple[Prompts, Tensor] | None = None  # prompts and text features
        if not model.learner.conditional:
            prompts = model.prompts()
            self.fixed = prompts, model.encode_text(prompts)

    def __call__(self, images: Tensor | Images) -> Tensor:
        """Return logits ``(batch, classes)``."""
        if self.fixed is None:
            return self.model(images).logits
        prompts, text = self.fixed
        return self.model.compare(self.model.encode_image(as_images(images), prompts), text).logits


def confusions(guesses: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return how many images of each class (rows) are taken for each class (columns)."""
    pairs = labels * classes + guesses
    return torch.bincount(pairs, minlength=classes**2).view(classes, classes)


def calibration_error(probabilities: Tensor, labels: Tensor) -> float:
    """Return ``sum_b n_b / n |accuracy_b - confidence_b|`` over bins b of equal width.

    As in torchmetrics, a confidence of just 1 has a bin of its own.
    """
    confidence, guesses = probabilities.double().max(dim=-1)
    missing = (guesses == labels).double() - confidence
    gaps = missing.new_zeros(BINS + 1).index_add(0, (BINS * confidence).long(), missing)
    return (gaps.abs().sum() / len(labels)).item()


def score(logits: Tensor, labels: Tensor, classnames: tuple[str, ...]) -> dict:
    """Return accuracy, macro-F1, calibration error and per-class accuracy, all in percent.

    A class without a picture counts in none of them; its per-class accuracy is None.
    """
    classes = len(classnames)
    guesses = logits.argmax(dim=-1)
    counts = confusions(guesses, labels, classes)
    right, pictures = counts.diag().double(), counts.sum(dim=1)
    present = pictures > 0
    each = right / pictures
    f1 = 2 * right / (pictures + counts.sum(dim=0))
    return {
        "accuracy": 100 * (guesses == labels).double().mean().item(),
        "macro_f1": 100 * f1[present].mean().item(),
        "ece": 100 * calibration_error(logits.softmax(dim=-1), labels),
        "images": len(labels),
        "classes": classes,
        "per_class": [
            {"class": name, "accuracy": 100 * value if there else None}
            for name, value, there in zip(classnames, each.tolist(), present.tolist(), strict=True)
        ],
    }


def score_generalized(logits: Tensor, labels: Tensor, classnames: tuple[str, ...]) -> dict:
    """Return ``score`` over all classes, and the accuracy on base and new classes' images and H.

    Every image may be given any class's name, so base classes compete with new ones.
    """
    right = logits.argmax(dim=-1) == labels
    found = score(logits, labels, classnames)
    for half in ("base", "new"):
        of_half = torch.isin(labels, torch.tensor(class_subset(len(classnames), half)))
        accuracy = 100 * right[of_half].double().mean().item() if of_half.any() else None
        found[half] = {"accuracy": accuracy, "images": int(of_half.sum())}
    base, new = found["base"]["accuracy"], found["new"]["accuracy"]
    found["harmonic_mean"] = None if None in (base, new) else harmonic_mean(base, new)
    return found
