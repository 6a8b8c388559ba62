"""Every fast path against the reference, which computes what the official code computes."""

import functools
import weakref
from pathlib import Path

import pytest
import torch

from softprompt.core.base.errors import UserError
from softprompt.core.base.registry import TRAINERS
from softprompt.core.clip import frozen
from softprompt.core.clip.fast import chunked as chunks
from softprompt.core.clip.fast import onednn, ragged
from softprompt.core.clip.fast.chunked import (
    encode_images_chunked,
    encode_text_chunked,
    recomputed,
)
from softprompt.core.clip.fast.ragged import encode_text_ragged
from softprompt.core.clip.frozen import FrozenCLIP
from softprompt.core.clip.towers.block import Linear
from softprompt.core.config.load import load_config
from softprompt.core.data import imagenet
from softprompt.core.data.batch import Batch
from softprompt.core.prompts.base import Prompts
from softprompt.core.studies.reference.clip import ReferenceCLIP
from softprompt.core.studies.reference.prometar import ReferenceProMetaR

# Names of one to five tokens, two lengths of which occur twice.
NAMES = ("dog", "song bird", "jet_airplane", "african hunting dog", "cat", "container ship")
OFFICIAL = {"prometar": ReferenceProMetaR}
# What a chunk or a layer computes is differentiated once by the first of these, twice by the other.
BOTH_ORDERS = ("erm", "prometar")
WIDTH = 48


@pytest.fixture(autouse=True)
def double():
    """In float64 a tolerance tells rounding, 1e-12, from a mistake."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@functools.cache
def both(make_clip, launch_bound: bool):
    """The fast CLIP and the reference on the same weights."""
    clip = make_clip(torch.float64, launch_bound=launch_bound)
    return clip, ReferenceCLIP(clip)


@pytest.fixture
def pair(make_clip):
    return both(make_clip, False)


def draw(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def stepped(method, batch) -> tuple[list[dict], list[dict]]:
    """Two steps' terms, and what the optimizers were given."""
    given, update = [], method.update
    method.update = lambda found, *which: (given.append(found), update(found, *which))
    torch.manual_seed(7)
    terms = [method.step(Batch(batch.images + shift, batch.labels)) for shift in (0.0, 0.1)]
    return terms, given


def assert_same(found: list[dict], expected: list[dict]):
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            assert (ours[name] - value).norm() <= 1e-8 * value.norm() + 1e-12, name


@pytest.fixture
def compare_steps(make_clip, make_batch, make_model, make_trainer, monkeypatch):
    batch = make_batch(6, torch.float64)

    def compare(learner, trainer, launch_bound=False, **options):
        clip, reference = both(make_clip, launch_bound)
        found = make_trainer(trainer, make_model(learner, clip, NAMES, **options))
        for optimizer in found.optimizers.values():
            for group in optimizer.param_groups:
                group["fused"] = None  # torch rounds a fused step's learning rate to fp32
        if trainer in OFFICIAL:
            monkeypatch.setitem(TRAINERS._classes, trainer, OFFICIAL[trainer])
        expected = make_trainer(trainer, make_model(learner, reference, NAMES, **options))
        for ours, theirs in zip(stepped(found, batch), stepped(expected, batch), strict=True):
            assert_same(ours, theirs)

    return compare


def test_steps_are_the_references(any_learner, any_trainer, compare_steps):
    compare_steps(any_learner, any_trainer)


@pytest.mark.parametrize(
    "options",
    [{"csc": True}, {"class_token_position": "middle"}, {"class_token_position": "front"}],
)
def test_steps_of_contexts_that_share_less_are_the_references(options, any_trainer, compare_steps):
    compare_steps("coop", any_trainer, **options)


@pytest.mark.parametrize("trainer", BOTH_ORDERS)
def test_steps_of_few_launches_are_the_references(any_learner, trainer, compare_steps):
    """What a GPU computes: padded sentences, other derivatives, two gradients at once."""
    compare_steps(any_learner, trainer, launch_bound=True)


@pytest.mark.parametrize("trainer", BOTH_ORDERS)
@pytest.mark.parametrize("options", [{"csc": True}, {"class_token_position": "middle"}])
def test_contexts_that_share_less_of_few_launches(options, trainer, compare_steps):
    compare_steps("coop", trainer, launch_bound=True, **options)


@pytest.mark.parametrize("learner", ["coop", "ivlp"])
def test_ragged_sentences_of_few_launches(learner, compare_steps, monkeypatch):
    monkeypatch.setattr(ragged, "TOKENS_PER_GROUP", -1e9)
    compare_steps(learner, "prometar", launch_bound=True)


@pytest.mark.slow
@pytest.mark.parametrize("learner", ["coop", "ivlp", "maple"])
def test_chunks_of_few_launches(learner, make_clip, compare_steps, monkeypatch):
    monkeypatch.setattr(both(make_clip, True)[0], "memory_limit", 1e-4)
    compare_steps(learner, "prometar", launch_bound=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("learner", "options", "trainer"),
    [("coop", {"csc": True}, trainer) for trainer in TRAINERS.names()]
    + [(learner, {}, trainer) for learner in ("cocoop", "maple") for trainer in BOTH_ORDERS],
)
def test_chunks_change_nothing(learner, options, trainer, pair, monkeypatch, compare_steps):
    """Also for the second derivative that ProMetaR takes."""
    clip, _ = pair
    seen = []

    def watched(tower, sentences, prompts):
        seen.append(len(sentences))
        return encode_text_ragged(tower, sentences, prompts)

    monkeypatch.setattr(clip, "memory_limit", 1e-4)
    monkeypatch.setattr(frozen, "encode_text_ragged", watched)
    compare_steps(learner, trainer, **options)
    assert min(seen) < len(NAMES)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("learner", "trainer"),
    [("ivlp", trainer) for trainer in TRAINERS.names()]
    + [(learner, trainer) for learner in ("vpt", "maple") for trainer in BOTH_ORDERS],
)
def test_chunks_of_images_change_nothing(learner, trainer, pair, monkeypatch, compare_steps):
    """Also for the second derivative that ProMetaR takes."""
    clip, _ = pair
    seen = []
    encode = type(clip.image).__call__

    def watched(tower, images, prompts):
        seen.append(len(images))
        return encode(tower, images, prompts)

    monkeypatch.setattr(clip, "memory_limit", 1e-4)
    monkeypatch.setattr(type(clip.image), "__call__", watched)
    compare_steps(learner, trainer)
    assert min(seen) == 1


@pytest.mark.parametrize("by_image", [False, True])
def test_chunks_of_images_have_their_own_prompts_and_gradients(by_image, pair, monkeypatch):
    clip, _ = pair
    images, found = draw(4, 3, 32, 32).requires_grad_(), []
    shapes = [(4, 2, 64), (2, 64)] if by_image else [(2, 64), (2, 64)]
    vectors = [draw(*shape, seed=seed).requires_grad_() for seed, shape in enumerate(shapes)]
    for limit in (1.0, 1e-4):
        monkeypatch.setattr(clip, "memory_limit", limit)
        features = clip.encode_image(images, Prompts(image=vectors[0], deep_image=(vectors[1],)))
        first = torch.autograd.grad(features.pow(3).sum(), [images, *vectors])
        found.append((features, *first))
    for chunked, whole in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(chunked, whole, rtol=1e-10, atol=1e-10)


def test_a_recomputed_function_keeps_inputs_and_cotangents_alone():
    x, y = draw(100).requires_grad_(), draw(100, seed=2).requires_grad_()
    saved, found = [], []

    def watch(value):
        kept = value.detach()
        saved.append(weakref.ref(kept))
        return kept

    def cubed(x, y):
        return (x * y).pow(3).exp()

    for function in (cubed, lambda x, y: recomputed(cubed, x, y)):
        saved.clear()
        with torch.autograd.graph.saved_tensors_hooks(watch, lambda value: value):
            output = function(x, y)
            first = torch.autograd.grad(output.sum(), (x, y), create_graph=True)
        alive = sum(one() is not None for one in saved)
        second = torch.autograd.grad((first[0] * first[1]).sum(), (x, y), create_graph=True)
        third = torch.autograd.grad(second[0].sum(), (x, y))
        found.append((alive, output, *first, *second, *third))
    assert found[0][0] > found[1][0] == 5  # x and y, then x, y and the cotangent
    for plain, again in zip(found[0][1:], found[1][1:], strict=True):
        torch.testing.assert_close(again, plain, rtol=1e-12, atol=1e-12)


def test_a_recomputed_function_has_the_gradients_that_are_asked_for():
    x, y = draw(3).requires_grad_(), draw(3, seed=2).requires_grad_()
    output = recomputed(lambda x, y: x * y + 0 * x.detach(), x, y)
    (first,) = torch.autograd.grad(output.sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.pow(2).sum(), y)
    assert torch.equal(second, 2 * y)


def draws_prompts(kind: str, classes: int) -> Prompts:
    shapes = {
        "shared": ((4, WIDTH),) * 3,
        "by image": ((2, 1, 4, WIDTH),) * 3,
        "by class": ((classes, 4, WIDTH), (4, WIDTH)),
        "by image and class": ((2, classes, 4, WIDTH), (classes, 4, WIDTH)),
        "deep by image": ((4, WIDTH), (2, 1, 4, WIDTH)),
        "deep alone": (None, (4, WIDTH)),
    }[kind]
    first, *deep = (
        None if shape is None else draw(*shape, seed=seed).requires_grad_()
        for seed, shape in enumerate(shapes)
    )
    return Prompts(text=first, deep_text=tuple(deep))


@pytest.mark.parametrize(
    "kind",
    ["shared", "by image", "by class", "by image and class", "deep by image", "deep alone"],
)
@pytest.mark.parametrize("names", [NAMES, NAMES[:1], ("dog", "cat")])
def test_ragged_sentences_are_full_ones(kind, names, pair):
    clip, reference = pair
    prompts = draws_prompts(kind, len(names))
    learned = prompts.vectors
    found = []
    for each in pair:
        features = each.encode_text(each.sentences(names, "X X X X of {}.", 4), prompts)
        found.append((features, *torch.autograd.grad(features.pow(2).sum(), learned)))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    sentences = clip.sentences(names, "X X X X of {}.", 4)
    applies = ragged.applies(clip.text, sentences, prompts)
    assert applies == ("class" not in kind or len(names) == 1)
    padded = clip.text(sentences, prompts)
    torch.testing.assert_close(padded, found[0][0], rtol=1e-9, atol=1e-9)
    tokens = ragged.tokens_of(clip.text, sentences, prompts)
    if applies:
        start = sentences.layout.start  # start token, four vectors and "of"; of one name, all
        assert start == (6 if len(names) > 1 else sentences.end)
        batch = 2 if "image" in kind else 1
        assert tokens == batch * (start + (sentences.end + 1 - start).sum())


def test_no_token_of_a_thousand_names_is_computed_in_vain(pair):
    names = tuple(imagenet.read_classnames(Path("nowhere")).values())
    sentences = pair[0].sentences(names, "a photo of a {}.", 4)
    tokens = ragged.tokens_of(pair[0].text, sentences, Prompts(text=draw(4, WIDTH)))
    assert tokens == 5 + (sentences.end + 1 - 5).sum()
    assert 77 * len(names) / tokens > 10


def test_without_a_gradient_a_cpu_encodes_few_images_at_once(pair, make_batch, monkeypatch):
    clip, _ = pair
    images, sizes = make_batch(5, torch.float64).images, []

    def encode(images, prompts):
        sizes.append(len(images))
        return clip.image(images, prompts)

    monkeypatch.setattr(chunks, "CPU_FORWARD_LIMIT", 1e-9)
    shared, own = draw(2, clip.image_width), draw(5, 2, clip.image_width)
    for prompts in (Prompts(), Prompts(image=own, deep_image=(shared,))):
        parts = encode_images_chunked(4.0, encode, clip.image, images, prompts)
        torch.testing.assert_close(parts, clip.image(images, prompts))
    assert sizes == [1] * 10


@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize("classes", [len(NAMES), 1])
def test_prompts_by_image_are_cut_into_images_first(pair, monkeypatch, gradient, classes):
    """Each image's sentences have a start of their own, so cutting there computes nothing again."""
    clip, _ = pair
    sentences, seen = clip.sentences(NAMES, "a photo of a {}.", 4), []
    vectors = draw(3, 1, 4, WIDTH).requires_grad_(gradient)
    whole = encode_text_ragged(clip.text, sentences, Prompts(text=vectors))

    def encode(sentences, prompts):
        seen.append((len(prompts.text), len(sentences)))
        return encode_text_ragged(clip.text, sentences, prompts)

    kept = chunks._for_gradients(clip.text.depth) if gradient else chunks.ACTIVATIONS_FORWARD
    tokens = ragged.tokens_of(clip.text, sentences, Prompts(text=vectors)) / 3
    fits = tokens * kept * WIDTH * 8 / chunks.GIGABYTE * (1.01 if classes > 1 else 1e-9)
    monkeypatch.setattr(chunks, "CPU_FORWARD_LIMIT", fits)
    limit = fits if gradient else 4.0
    found = encode_text_chunked(limit, encode, clip.text, sentences, Prompts(text=vectors))
    torch.testing.assert_close(found, whole, rtol=1e-10, atol=1e-10)
    assert set(seen) == {(1, classes)}
    assert len(seen) == 3 * len(NAMES) / classes
    if gradient:
        ours, theirs = (torch.autograd.grad(f.pow(3).sum(), vectors)[0] for f in (found, whole))
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("rows", "copies"), [(3, 2), (onednn.FEW, 0)])
def test_a_layer_by_onednn_is_f_linear_to_every_order(rows, copies):
    """Many rows need no layout that is kept."""
    weight, bias, x = draw(40, 24).float(), draw(40).float(), draw(1, rows, 24).float()
    x.requires_grad_()
    expected, fast = Linear(weight, bias), onednn.OneDNNLinear(weight, bias)
    assert fast.bytes == 0
    found = []
    for layer in (expected, fast):
        orders = [layer(x)]
        for _ in range(3):
            (gradient,) = torch.autograd.grad(orders[-1].pow(3).sum(), x, create_graph=True)
            # Beside large cotangents nobody would see a bias that has got in among them.
            orders.append(1e-3 * gradient / gradient.detach().norm())
        found.append(orders)
    for ours, theirs in zip(found[1], found[0], strict=True):
        assert (ours - theirs).norm() < 1e-5 * theirs.norm()
    assert fast.bytes == copies * 4 * 40 * 24
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert fast(x).dtype == torch.bfloat16


def test_no_transpose_is_prepacked_where_no_gradient_passes(
    make_clip, make_model, make_batch, monkeypatch
):
    torch.set_default_dtype(torch.float32)
    monkeypatch.setattr(onednn, "FEW", 1000)  # more rows than any layer gets here
    clip = make_clip()
    fast = FrozenCLIP(clip.model, clip.text.tokenizer, onednn="on")
    images = make_batch().images
    fast.encode_image(images)
    straight = 4 * 12 * fast.image_width**2 * fast.image_depth  # bytes
    assert fast.onednn_bytes == straight
    make_model("coop", fast)(images).logits.sum().backward()
    text = 4 * 12 * fast.text_width**2 * fast.text_depth
    assert fast.onednn_bytes == straight + 2 * text


@pytest.mark.slow
@pytest.mark.parametrize("trainer", BOTH_ORDERS)
def test_steps_by_onednn_are_those_of_f_linear(any_learner, trainer, make_step, monkeypatch):
    """Two steps' gradients in single precision, the only one for oneDNN; images are many rows."""
    monkeypatch.setattr(onednn, "FEW", 50)
    pair = any_learner, trainer
    (_, fast), (_, slow) = make_step(*pair, "on"), make_step(*pair, "off")
    for ours, theirs in zip(fast, slow, strict=True):
        ours, theirs = (torch.cat([v.flatten() for v in d.values()]) for d in (ours, theirs))
        assert (ours - theirs).norm() <= 1e-4 * theirs.norm()


@pytest.fixture
def make_step(make_clip, make_batch, make_model, make_trainer):
    torch.set_default_dtype(torch.float32)
    clip = make_clip()

    def make(learner: str, trainer: str, mode: str):
        own = FrozenCLIP(clip.model, clip.text.tokenizer, onednn=mode)
        assert isinstance(own.text.parts[0].up, onednn.OneDNNLinear) == (mode == "on")
        return stepped(make_trainer(trainer, make_model(learner, own, NAMES)), make_batch(6))

    return make


def test_onednn_applies_only_where_it_pays_and_is_right(monkeypatch):
    monkeypatch.setattr(onednn, "_is_amd_with_avx512", lambda: False)
    cpu = torch.device("cpu")
    assert not onednn.applies("auto", "fp32", cpu) and onednn.applies("on", "fp32", cpu)
    monkeypatch.setattr(onednn, "_is_amd_with_avx512", lambda: True)
    assert onednn.applies("auto", "fp32", cpu) and not onednn.applies("off", "fp32", cpu)
    assert not onednn.applies("on", "bf16", cpu)
    assert not onednn.applies("on", "fp32", torch.device("cuda"))
    monkeypatch.setattr(onednn, "_is_right", lambda: False)
    assert not onednn.applies("on", "fp32", cpu)


def test_layers_in_double_precision_stay_as_they_are(pair):
    clip, _ = pair
    onednn.use_onednn(clip.text.parts)
    assert type(clip.text.parts[0].up) is Linear


def wrong_output(run, layer, x, transposed, bias):
    return 1.001 * run(layer, x, transposed, bias)


def wrong_derivative(run, layer, x, transposed, bias):
    return run(layer, x, transposed, None if transposed else layer.bias)


def missing(run, layer, x, transposed, bias):
    return torch.ops.mkldnn._no_such_operator(x)


@pytest.mark.parametrize("mistake", [wrong_output, wrong_derivative, missing])
def test_onednn_does_not_apply_where_the_check_fails(mistake, monkeypatch):
    right = onednn._is_right.__wrapped__
    assert right()
    run = functools.partial(mistake, onednn.OneDNNLinear.run)
    monkeypatch.setattr(onednn.OneDNNLinear, "run", lambda *given: run(*given))
    assert not right()


def test_a_memory_limit_that_no_class_fits_in_is_refused(root):
    with pytest.raises(UserError, match="MODEL.MEMORY_LIMIT is 0.0, but must be at least 0.1"):
        load_config(str(root / "configs/coop/tiny.yaml"), "", {}, ["MODEL.MEMORY_LIMIT", "0"])
