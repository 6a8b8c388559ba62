"""The regulator: identity at the start, homogeneous, never amplifying, on token rows alone."""

import pytest
import torch

from softprompt.core import UserError
from softprompt.core.base.registry import PROMPT_LEARNERS
from softprompt.core.clip.prompted import prompts_images
from softprompt.core.meta.forms import FORMS, IdRms
from softprompt.core.meta.regulator import Regulator, Row, token_rows

WIDTH, DIM, RANK = 48, 32, 8
ROWS = {"text": Row("text", WIDTH), "image": Row("image", WIDTH)}
# What each learner declares, spelled out here because deciding by names is what must not happen.
TOWERS = {
    "coop": {"text": {"context"}},
    "cocoop": {"text": {"context"}},
    "vpt": {"image": {"image.0", "image.1", "image.2"}},
    "language_only": {"text": {"text.0", "text.1", "text.2"}},
    "ivlp": {"text": {"text.0", "text.1", "text.2"}, "image": {"image.0", "image.1", "image.2"}},
    "maple": {"text": {"text.0", "text.1", "text.2"}},
    "zeroshot": {},
}


def build(form: str = "id_rms", moved: float = 0.0) -> Regulator:
    torch.manual_seed(0)
    regulator = Regulator(ROWS, DIM, form=form, rank=RANK)
    with torch.no_grad():
        for value in regulator.parameters():
            value += moved * torch.randn_like(value)
    return regulator


def gradients(rows: int = 500) -> dict[str, torch.Tensor]:
    """Rows of widely varying length."""
    torch.manual_seed(1)
    scale = 10 ** torch.empty(rows, 1).uniform_(-6, 2)
    return {name: torch.randn(rows, WIDTH) * scale for name in ROWS}


CONDITION = torch.nn.functional.normalize(torch.arange(DIM).float() - 7, dim=0)


@pytest.mark.parametrize("form", ["id_rms", "film", "none"])
def test_identity_at_the_start(form):
    found = build(form)(gradients(), CONDITION)
    for name, raw in gradients().items():
        assert torch.allclose(found[name], raw, rtol=1e-5, atol=0)


def test_the_literal_form_of_supmer_is_no_identity():
    found, raw = build("supmer")(gradients(), CONDITION), gradients()
    cosine = torch.cosine_similarity(found["text"], raw["text"], dim=-1)
    assert cosine.mean() < 0.9
    ratio = found["text"].norm(dim=-1) / raw["text"].norm(dim=-1)
    assert (ratio <= 1 + 1e-5).all()


@pytest.mark.parametrize("form", ["id_rms", "film"])
@pytest.mark.parametrize("factor", [1e-4, 1e3])
def test_positively_homogeneous(form, factor):
    regulator = build(form, moved=0.1)
    found = regulator({n: factor * g for n, g in gradients().items()}, CONDITION)
    for name, once in regulator(gradients(), CONDITION).items():
        error = (found[name] / factor - once).norm(dim=-1) / once.norm(dim=-1)
        assert error.max() < 1e-5


def test_rows_never_grow_but_turn():
    found, raw = build(moved=0.3)(gradients(2000), CONDITION), gradients(2000)
    ratio = found["text"].norm(dim=-1) / raw["text"].norm(dim=-1)
    assert ratio.max() <= 1 + 1e-5
    assert ratio.min() < 0.95
    assert torch.cosine_similarity(found["text"], raw["text"], dim=-1).mean() < 0.99


@pytest.mark.parametrize("form", FORMS)
def test_every_row_is_treated_alike(form):
    regulator, raw = build(form, moved=0.1), gradients(60)
    order = torch.randperm(60)
    found = regulator(raw, CONDITION)["text"]
    permuted = regulator({n: g[order] for n, g in raw.items()}, CONDITION)["text"]
    assert torch.allclose(permuted, found[order], rtol=1e-5)
    deep = regulator({n: g.view(3, 20, WIDTH) for n, g in raw.items()}, CONDITION)["text"]
    assert torch.allclose(deep.view(60, WIDTH), found, rtol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_a_zero_row_stays_zero_and_has_finite_derivatives(form):
    regulator = build(form, moved=0.1)
    raw = {n: g.clone().requires_grad_() for n, g in gradients(4).items()}
    leaf = raw["text"]
    zeroed = leaf * torch.tensor([[1.0], [0.0], [1.0], [1.0]])
    found = regulator({"text": zeroed}, CONDITION)["text"]
    assert torch.equal(found[1], torch.zeros(WIDTH))
    (first,) = torch.autograd.grad(found.pow(2).sum(), leaf, create_graph=True)
    (second,) = torch.autograd.grad(first.pow(2).sum(), leaf)
    assert torch.isfinite(first).all() and torch.isfinite(second).all()


@pytest.mark.parametrize("form", ["id_rms", "supmer"])
def test_an_open_gate_passes_every_bit(form):
    regulator = build(form, moved=0.3)
    for function in regulator.functions.values():
        function.gate.out.bias.data.fill_(1000.0)
    found = regulator(gradients(), CONDITION)
    assert all(torch.equal(found[name], raw) for name, raw in gradients().items())
    assert regulator.openness(CONDITION) == 1


def test_the_towers_have_functions_of_their_own_and_the_branch_learns_from_the_start():
    regulator = build()
    assert set(regulator.functions) == {f"text_{WIDTH}", f"image_{WIDTH}"}
    target = torch.randn(500, WIDTH)
    (regulator(gradients(), CONDITION)["text"] * target).sum().backward()
    assert regulator.functions[f"text_{WIDTH}"].up[0].grad.abs().sum() > 0
    assert regulator.functions[f"image_{WIDTH}"].up[0].grad is None


def test_a_layer_can_have_a_function_of_its_own(clip, make_model):
    rows = token_rows(make_model("ivlp", clip).learner, clip)
    shared, own = (Regulator(rows, DIM, rank=RANK, per_layer=each) for each in (False, True))
    assert (len(shared.functions), len(own.functions)) == (2, len(rows)) == (2, 6)
    torch.manual_seed(1)
    raw = {name: torch.randn(4, row.width) for name, row in rows.items()}
    assert all(torch.allclose(own(raw, CONDITION)[name], raw[name]) for name in raw)
    with torch.no_grad():
        own.functions[own.keys["image.1"]].up[0].normal_()
    changed = [n for n, g in own(raw, CONDITION).items() if not torch.allclose(g, raw[n])]
    assert changed == ["image.1"]


def test_published_sizes():
    """Text 144,433 and vision 210,481 numbers for ViT-B/16 at rank 64."""
    assert sum(v.numel() for v in IdRms(512, 512, 64).parameters()) == 144_433
    assert sum(v.numel() for v in IdRms(768, 512, 64).parameters()) == 210_481


@pytest.mark.parametrize("learner", PROMPT_LEARNERS.names())
def test_token_rows_are_what_the_learner_declares(learner, clip, make_model):
    model = make_model(learner, clip)
    rows = token_rows(model.learner, clip)
    found: dict = {}
    for name, row in rows.items():
        found.setdefault(row.tower, set()).add(name)
        assert row.width == (clip.text_width if row.tower == "text" else clip.image_width)
    assert found == TOWERS.get(learner, found)
    assert set(rows) <= model.learner.token_rows()
    moves_images = learner in ("vpt", "ivlp", "maple")
    assert prompts_images(model.learner, clip) == moves_images or learner not in TOWERS


@pytest.mark.parametrize("learner", ["cocoop", "maple"])
def test_networks_pass_unchanged(learner, clip, make_model):
    model = make_model(learner, clip)
    rows = token_rows(model.learner, clip)
    regulator = Regulator(rows, clip.dim, rank=RANK)
    with torch.no_grad():
        for value in regulator.parameters():
            value += 0.3 * torch.randn_like(value)
    raw = {name: torch.randn_like(value) for name, value in model.params().items()}
    found = regulator(raw, CONDITION)
    others = set(raw) - set(rows)
    assert others and all(found[name] is raw[name] for name in others)
    assert not any(torch.equal(found[name], raw[name]) for name in rows)
    assert list(found) == list(raw)


def test_class_specific_rows_are_rows(clip, make_model):
    model = make_model("coop", clip, csc=True)
    (row,) = token_rows(model.learner, clip).values()
    assert row == Row("text", clip.text_width)


def test_mistakes_end_in_a_line():
    with pytest.raises(UserError, match="FORM is 'mlp'; it takes id_rms, none, supmer, film"):
        Regulator(ROWS, DIM, form="mlp")
    with pytest.raises(UserError, match="RANK is 0"):
        Regulator(ROWS, DIM, rank=0)
