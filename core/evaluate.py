"""Measuring a classifier on one class set, with metrics from torchmetrics."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_calibration_error,
    multiclass_f1_score,
)

from softprompt.core.model import PromptedCLIP
from softprompt.core.trainer import Batch

BINS = 15  # of the expected calibration error


@torch.no_grad()
def predict(model: PromptedCLIP, batches: Iterable[Batch]) -> tuple[Tensor, Tensor]:
    """Return logits ``(images, classes)`` and labels ``(images,)``, on the CPU.

    The text is encoded once, not once a batch, unless the prompts depend on the picture.
    """
    logits, labels = [], []
    prompts = text = None
    if not model.learner.conditional:
        prompts = model.prompts()
        text = model.encode_text(prompts)
    for batch in batches:
        if prompts is not None:
            image = model.clip.encode_image(batch.images, prompts)
            features = model.compare(image, text)
        else:
            features = model(batch.images)
        logits.append(features.logits.cpu())
        labels.append(batch.labels.cpu())
    return torch.cat(logits), torch.cat(labels)


def score(logits: Tensor, labels: Tensor, classnames: tuple[str, ...]) -> dict:
    """Return accuracy, macro-F1, expected calibration error (all in percent) and per-class accuracy.

    A class without a picture counts in none of them; its per-class accuracy is None.
    """
    classes = len(classnames)
    probabilities = logits.softmax(dim=-1)
    guesses = logits.argmax(dim=-1)
    each = multiclass_accuracy(guesses, labels, classes, average="none")
    present = torch.bincount(labels, minlength=classes) > 0
    f1 = multiclass_f1_score(guesses, labels, classes, average="none")
    error = multiclass_calibration_error(probabilities, labels, classes, n_bins=BINS, norm="l1")
    return {
        "accuracy": 100 * (guesses == labels).double().mean().item(),
        "macro_f1": 100 * f1[present].double().mean().item(),
        "ece": 100 * error.item(),
        "images": len(labels),
        "classes": classes,
        "per_class": [
            {"class": name, "accuracy": 100 * value.item() if there else None}
            for name, value, there in zip(classnames, each, present, strict=True)
        ],
    }


def harmonic_mean(base: float, new: float) -> float:
    """``2 base new / (base + new)``, the field's H."""
    return 2 * base * new / (base + new) if base + new else 0.0
