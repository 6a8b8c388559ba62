import pytest
import torch

from softprompt.core.base.errors import UserError
from softprompt.core.data.batch import Batch
from softprompt.core.engine.evaluate import (
    BINS,
    confusions,
    need_images,
    predict,
    score,
    score_generalized,
)
from softprompt.core.engine.results import harmonic_mean, table


def test_scores_by_hand():
    labels = torch.tensor([0, 0, 1, 1])
    logits = torch.tensor([[2.0, 0, 0], [0, 2.0, 0], [0, 2.0, 0], [0, 2.0, 0]])
    scores = score(logits, labels, ("a", "b", "c"))
    assert scores["accuracy"] == 75
    # F1: a has precision 1 and recall 1/2, b precision 2/3 and recall 1; c has no picture.
    assert scores["macro_f1"] == pytest.approx(100 * (2 / 3 + 4 / 5) / 2)
    assert scores["per_class"] == [
        {"class": "a", "accuracy": 50.0},
        {"class": "b", "accuracy": 100.0},
        {"class": "c", "accuracy": None},
    ]
    confidence = torch.softmax(torch.tensor([2.0, 0, 0]), 0)[0].item()
    assert scores["ece"] == pytest.approx(100 * abs(0.75 - confidence), rel=1e-4)
    assert (scores["images"], scores["classes"]) == (4, 3)


@pytest.mark.parametrize(
    ("images", "classes", "spread"), [(400, 7, 1.0), (2000, 40, 4.0), (50, 60, 8.0), (5, 2, 100.0)]
)
def test_scores_are_those_of_torchmetrics(images, classes, spread):
    """Classes without a picture, never guessed or neither, and guesses that are sure of it."""
    from torchmetrics.functional.classification import (
        multiclass_accuracy,
        multiclass_calibration_error,
        multiclass_confusion_matrix,
        multiclass_f1_score,
    )

    generator = torch.Generator().manual_seed(images)
    logits = spread * torch.randn(images, classes, generator=generator)
    labels = torch.randint(0, classes - 1, (images,), generator=generator)
    guesses = logits.argmax(dim=-1)
    found = score(logits, labels, tuple(map(str, range(classes))))
    assert torch.equal(
        confusions(guesses, labels, classes), multiclass_confusion_matrix(guesses, labels, classes)
    )
    present = labels.bincount(minlength=classes) > 0
    each = multiclass_accuracy(guesses, labels, classes, average="none")
    expected = [100 * each[k].item() if present[k] else None for k in range(classes)]
    assert [it["accuracy"] for it in found["per_class"]] == pytest.approx(expected)
    f1 = multiclass_f1_score(guesses, labels, classes, average="none")
    assert found["macro_f1"] == pytest.approx(100 * f1[present].mean().item())
    error = multiclass_calibration_error(logits.softmax(dim=-1), labels, classes, n_bins=BINS)
    assert found["ece"] == pytest.approx(100 * error.item(), rel=1e-5)


def test_generalized_scores_by_hand():
    # Classes a, b and c are base, d and e new; every image may be given any of the five.
    labels = torch.tensor([0, 1, 2, 2, 3, 3, 4, 4])
    guesses = torch.tensor([0, 1, 2, 3, 3, 0, 1, 4])
    found = score_generalized(torch.eye(5)[guesses], labels, tuple("abcde"))
    assert found["base"] == {"accuracy": 75.0, "images": 4}
    assert found["new"] == {"accuracy": 50.0, "images": 4}
    assert found["harmonic_mean"] == pytest.approx(60)
    assert found["accuracy"] == pytest.approx(100 * 5 / 8)
    assert found["classes"] == 5
    only_new = score_generalized(torch.eye(5)[guesses[4:]], labels[4:], tuple("abcde"))
    assert (only_new["base"]["accuracy"], only_new["harmonic_mean"]) == (None, None)
    assert only_new["new"]["accuracy"] == 50


def test_the_table_names_the_class_set_of_each_number():
    apart = {"accuracy": 61.0, "base": {"accuracy": 70.0}, "new": {"accuracy": None}}
    scores = {
        "coop": {"base": {"accuracy": 81.25}, "generalized": apart | {"harmonic_mean": None}},
    }
    lines = [line.split("  ") for line in table(scores, {}).splitlines()]
    words = [[word.strip() for word in line if word.strip()] for line in lines]
    assert words[0] == [
        "accuracy %",
        "base",
        "generalized base",
        "generalized new",
        "generalized H",
    ]
    assert words[2] == ["coop", "81.2", "70.0", "-", "-"]


def test_the_harmonic_mean_is_the_published_one():
    assert harmonic_mean(82.63, 67.99) == pytest.approx(74.60, abs=0.005)
    assert harmonic_mean(0, 0) == 0


def test_prediction_encodes_once_and_changes_nothing(clip, batch, make_model, monkeypatch):
    models = {name: make_model(name, clip) for name in ("zeroshot", "coop", "cocoop", "ivlp")}
    expected = {name: model(batch.images).logits for name, model in models.items()}
    counts = {"image": 0, "text": 0}
    for kind in counts:
        encode = getattr(clip, f"encode_{kind}")

        def counted(*args, kind=kind, encode=encode, **kwargs):
            counts[kind] += 1
            return encode(*args, **kwargs)

        monkeypatch.setattr(clip, f"encode_{kind}", counted)
    halves = [Batch(batch.images[i : i + 4], batch.labels[i : i + 4]) for i in (0, 4)]
    logits, labels = predict(models, halves)
    assert torch.equal(labels, batch.labels)
    for name, value in logits.items():
        assert torch.allclose(value, expected[name], atol=1e-4), name
    # Two batches, each once without prompts for zeroshot, coop and cocoop, and once for ivlp.
    assert counts["image"] == 4
    assert counts["text"] == 4  # coop and ivlp once, cocoop once a batch, zeroshot's is cached


def test_logits_that_are_not_finite_are_said(clip, batch, make_model):
    model = make_model("coop", clip)
    with torch.no_grad():
        model.learner.context.fill_(3e38)
    with pytest.raises(UserError, match="the logits of coop are not finite, so nothing is report"):
        predict({"coop": model}, [batch])


def test_a_learner_can_say_that_it_needs_pictures(clip, make_model):
    model = make_model("coop", clip)
    assert not need_images([model])
    model.learner.needs_images = True
    assert need_images([model])
    assert need_images([make_model("ivlp", clip)])
