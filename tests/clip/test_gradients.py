"""Meta-gradients and closed forms, in float64."""

import math

import pytest
import torch
import torch.nn.functional as F
from plain_clip import PlainCLIP, tokens_of, unit

from softprompt.core.clip.gradients import gradients, twice_differentiable
from softprompt.core.engine.optim import Optim
from softprompt.core.prompts.templates import SELECT


@pytest.fixture
def exact(make_clip):
    torch.set_default_dtype(torch.float64)
    yield make_clip(torch.float64, layers=3)
    torch.set_default_dtype(torch.float32)


def test_prometars_meta_gradient(any_learner, exact, make_batch, make_model, make_trainer):
    """The gradient of the outer loss through the inner step, against central differences."""
    batch = make_batch(6, torch.float64)
    model = make_model(any_learner, exact)
    trainer = make_trainer("prometar", model, adapt_lr=0.01, lr_ratio=1.0)
    teacher = model.zero_shot_image(batch.images)

    def outer() -> torch.Tensor:
        torch.manual_seed(5)
        batch.drawn = None
        return trainer.outer_loss(batch, teacher)

    params = {**model.params(), **dict(trainer.gates.named_parameters())}
    found = gradients(outer(), params)
    generator = torch.Generator().manual_seed(1)
    for name in (*model.params(), *list(dict(trainer.gates.named_parameters()))[:2]):
        value = params[name]
        direction = torch.randn(value.shape, generator=generator)
        # Small for prompts, as L1 has kinks in them; gates have none, and gain in accuracy.
        step = (1e-7 if name in model.params() else 1e-4) / direction.norm()
        with torch.no_grad():
            ends = []
            for sign in (1, -1):
                value += sign * step * direction
                with torch.enable_grad():
                    ends.append(outer().item())
                value -= sign * step * direction
        numeric = (ends[0] - ends[1]) / (2 * step.item())
        exact_value = (found[name] * direction).sum().item()
        assert numeric == pytest.approx(exact_value, rel=1e-4, abs=1e-6), name


def test_fused_attention_has_no_second_derivative_but_ours_has(clip, batch, make_model):
    model = make_model("ivlp", clip)
    with twice_differentiable():
        loss = F.cross_entropy(model(batch.images).logits, batch.labels)
        first = gradients(loss, model.params(), create_graph=True)
    second = gradients(sum(g.pow(2).sum() for g in first.values()), model.params())
    assert all(g.abs().sum() > 0 for g in second.values())


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("learner", ["cocoop", "ivlp"])
@pytest.mark.parametrize("launch_bound", [False, True])
def test_half_precision_can_be_differentiated_twice(
    precision, learner, launch_bound, make_clip, batch, make_model
):
    clip = make_clip(launch_bound=launch_bound)
    found = []
    for clip.precision in ("fp32", precision):
        model = make_model(learner, clip)
        with twice_differentiable():
            loss = F.cross_entropy(model(batch.images).logits, batch.labels)
            first = gradients(loss, model.params(), create_graph=True)
        second = gradients(sum(g.pow(2).sum() for g in first.values()), model.params())
        found.append(torch.cat([value.flatten() for value in second.values()]))
    exact, half = found
    assert half.dtype == torch.float32
    assert F.cosine_similarity(exact, half, dim=0) > 0.99


def test_an_objective_that_misses_a_tensor_has_a_zero_gradient():
    a, b = torch.ones(2, requires_grad=True), torch.ones(3, requires_grad=True)
    found = gradients((a * 3).sum(), {"a": a, "b": b}, scale=torch.tensor(64.0))
    assert found["a"].tolist() == [3.0, 3.0]
    assert found["b"].tolist() == [0.0, 0.0, 0.0]
    assert gradients(torch.tensor(1.0), {"a": a})["a"].tolist() == [0.0, 0.0]


def test_kgcoops_loss_and_gradient(exact, make_batch, make_model, make_trainer):
    """No official run of KgCoOp is recorded, so its loss is checked against its formula."""
    batch = make_batch(6, torch.float64)
    model = make_model("coop", exact, ctx_init="a photo of a", n_ctx=4)
    with torch.no_grad():
        model.learner.context += 0.1 * torch.randn_like(model.learner.context)
    trainer = make_trainer("kgcoop", model, weight=8.0)
    terms = trainer.loss(batch)

    plain = PlainCLIP(exact.model.state_dict(), text_heads=2, image_heads=2)

    def text(context):
        rows = [plain.embedded("a photo of a", name, context) for name in model.classnames]
        return unit(plain.text(rows))

    frozen, prompted = text(None), text(model.learner.context)
    logits = plain.scale * unit(plain.image(batch.images)) @ prompted.T
    distance = 1 - (frozen * prompted).sum(-1).mean()
    ce = -logits.log_softmax(-1)[range(6), batch.labels].mean()
    assert terms["distance"].item() == pytest.approx(8 * distance.item(), rel=1e-9)
    assert terms["ce"].item() == pytest.approx(ce.item(), rel=1e-9)
    assert distance > 1e-3
    found = gradients(sum(terms.values()), model.params())
    expected = gradients(8 * distance + ce, model.params())
    torch.testing.assert_close(found["context"], expected["context"], rtol=1e-8, atol=1e-11)


def test_language_only_prompts_and_their_gradients(exact, make_batch, make_model):
    """No official run of language-only prompts is recorded: they are held to plain code.

    Each block's input has its prompt tokens replaced; the plain text tower is that of
    ``tests/oracle``, which reproduces the official runs of other methods.
    """
    batch = make_batch(6, torch.float64)
    model = make_model("language_only", exact, n_ctx=3)
    with torch.no_grad():
        for value in model.params().values():
            value += 0.3 * torch.randn_like(value)
    params = model.params()
    plain = PlainCLIP(exact.model.state_dict(), text_heads=2, image_heads=2)
    first, *deep = params.values()
    assert len(deep) == 2
    rows = [plain.embedded("a photo of a", name, first) for name in model.classnames]
    text, image = unit(plain.text(rows, tuple(deep))), unit(plain.image(batch.images))
    logits = plain.scale * image @ text.T
    ours = model(batch.images)
    for found, expected in ((ours.text, text), (ours.image, image), (ours.logits, logits)):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)

    found = gradients(F.cross_entropy(ours.logits, batch.labels), params)
    plain_loss = -logits.log_softmax(-1)[range(6), batch.labels].mean()
    for name, expected in gradients(plain_loss, params).items():
        assert expected.norm() > 1e-3, name
        torch.testing.assert_close(found[name], expected, rtol=1e-8, atol=1e-11)


def test_lasps_text_to_text_loss(exact, make_batch, make_model, make_trainer):
    """No official run of LASP is recorded, so its loss is checked against its formula."""
    batch = make_batch(6, torch.float64)
    model = make_model("coop", exact, ctx_init="a photo of a", n_ctx=4)
    trainer = make_trainer("lasp", model, weight=3.0)
    plain = PlainCLIP(exact.model.state_dict(), text_heads=2, image_heads=2)
    rows = [
        plain.embedded("a photo of a", name, model.learner.context) for name in model.classnames
    ]
    learned = unit(plain.text(rows))
    losses = []
    for template in SELECT:
        sentences = [template.format(name.replace("_", " ")) for name in model.classnames]
        embedding = plain.weights["token_embedding.weight"]
        by_hand = unit(plain.text([embedding[tokens_of(sentence)] for sentence in sentences]))
        for label, feature in enumerate(learned):
            chances = (plain.scale * by_hand @ feature).softmax(0)
            losses.append(-chances[label].log())
    terms = trainer.loss(batch)
    assert len(losses) == 7 * len(model.classnames)
    assert terms["text"].item() == pytest.approx(3 * sum(losses).item() / len(losses), rel=1e-9)
    assert terms["text"] > 1e-3


def test_prograds_projection(clip, make_model, make_trainer):
    trainer = make_trainer("prograd", make_model("coop", clip), strength=1.0)
    general = torch.tensor([0.0, 2.0])
    assert trainer.aligned(torch.tensor([1.0, -3.0]), general).tolist() == [1.0, 0.0]
    assert trainer.aligned(torch.tensor([1.0, 3.0]), general).tolist() == [1.0, 3.0]
    trainer.strength = 0.5
    assert trainer.aligned(torch.tensor([1.0, -3.0]), general).tolist() == [1.0, -1.5]
    zero = torch.zeros(2)
    assert torch.isfinite(trainer.aligned(zero, zero)).all()


def test_promptsrcs_average(clip, batch, make_model, make_trainer):
    model = make_model("ivlp", clip)
    trainer = make_trainer("promptsrc", model, epochs=3, gpa_mean=2.0, gpa_std=1.0)
    seen = []
    for epoch in range(3):
        trainer.step(batch)
        seen.append({name: value.detach().clone() for name, value in model.params().items()})
        trainer.after_epoch(epoch)
    side = math.exp(-0.5)
    weights = [side / (1 + 2 * side), 1 / (1 + 2 * side), side / (1 + 2 * side)]
    for name, value in model.params().items():
        mean = sum(w * at[name] for w, at in zip(weights, seen, strict=True))
        assert torch.allclose(value, mean, atol=1e-7)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_half_precision_overflow_skips_a_step(name, make_clip, make_model, make_trainer):
    """A skipped step leaves prompts and momentum as if it had not been."""
    clip = make_clip()
    clip.precision = "fp16"
    ends = []
    for overflows in ((False, False), (True, False, True, False)):
        trainer = make_trainer("erm", make_model("coop", clip))
        trainer.prepare(Optim(name=name, lr=0.01, epochs=3, warmup_epochs=0))
        context = trainer.model.learner.context
        scale = trainer.loss_scale.item()
        for count, overflow in enumerate(overflows):
            value = float("inf") if overflow else 0.5 + 0.25 * (count // (len(overflows) // 2))
            before = context.detach().clone()
            trainer.update({"context": torch.full_like(context, value)})
            assert torch.equal(context, before) == overflow
        assert trainer.loss_scale.item() == scale / 2 ** sum(overflows)
        ends.append(context.detach().clone())
    assert torch.equal(*ends)
