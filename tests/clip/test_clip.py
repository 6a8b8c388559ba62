"""The frozen CLIP of open_clip's own towers, prompt by prompt against slow oracles."""

import pytest
import torch

from softprompt.core.base.errors import UserError
from softprompt.core.clip.frozen import FrozenCLIP
from softprompt.core.clip.gradients import twice_differentiable
from softprompt.core.prompts.base import Prompts

WIDTH, IMAGE_WIDTH = 48, 64  # of the small CLIP's towers
TEMPLATE = "X X X X {}."


def draw(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def images():
    return draw(3, 3, 32, 32, seed=0)


def encode_at_full_length(clip, ids, x, deep=(), slots=()):
    """The text tower as CLIP's paper has it: 77 tokens, one sentence at a time, no sharing."""
    model = clip.model
    x = x + model.positional_embedding
    for index, block in enumerate(model.transformer.resblocks):
        if 0 < index <= len(deep):
            x = x.clone()
            for k, slot in enumerate(slots):
                x[:, slot] = deep[index - 1][k]
        x = block(x, attn_mask=model.attn_mask)
    pooled = model.ln_final(x)[0, ids.argmax()]
    return pooled @ model.text_projection


def oracle(clip, name, words, context, deep=()):
    """One class's feature: the words written out in order, ``None`` for each context vector."""
    tokenizer = clip.text.tokenizer
    row, slots, k = [tokenizer.sot_token_id], [], 0
    for word in words:
        if word is None:
            slots.append(len(row))
            row.append(343)  # any id will do, its embedding is replaced
        else:
            row += tokenizer.encode(word)
    row.append(tokenizer.eot_token_id)
    ids = torch.tensor(row + [0] * (77 - len(row)))
    x = clip.model.token_embedding(ids)[None].clone()
    for k, slot in enumerate(slots):
        x[0, slot] = context[k]
    return encode_at_full_length(clip, ids, x, deep, slots)


def test_words_that_are_none_are_refused(clip):
    with pytest.raises(UserError, match="holds no word"):
        clip.embed_words(" ")


def test_sentences_are_open_clips_own(clip, names):
    import open_clip

    ids = open_clip.get_tokenizer("ViT-B-16")(
        [f"a photo of a {n.replace('_', ' ')}." for n in names]
    )
    ours = clip.sentences(names, "a photo of a {}.")
    length = ours.ids.shape[1]
    assert length == ids.argmax(1).max() + 1 < 77
    assert torch.equal(ours.ids, ids[:, :length])
    assert torch.equal(ours.end, ids.argmax(1))
    full = clip.model.encode_text(ids)
    torch.testing.assert_close(clip.encode_text(ours), full, atol=1e-5, rtol=1e-5)


def test_class_features_are_the_mean_over_templates(clip, names):
    templates = ("a photo of a {}.", "{} texture.")
    each = [clip.encode_text(clip.sentences(names, template)) for template in templates]
    torch.testing.assert_close(clip.class_features(names, templates), sum(each) / 2)
    unit = sum(torch.nn.functional.normalize(one, dim=-1) for one in each) / 2
    torch.testing.assert_close(clip.class_features(names, templates, unit=True), unit)


def test_words_are_embedded_without_what_stands_around_them(clip):
    ids = torch.tensor(clip.text.tokenizer.encode("a photo of a"))
    assert torch.equal(clip.embed_words("a photo of a"), clip.model.token_embedding(ids))


def test_the_phrases_own_embeddings_give_the_phrases_own_features(clip, names):
    sentences = clip.sentences(names, "a photo of a {}.", 4)
    context = Prompts(text=clip.embed_words("a photo of a"))
    fixed = clip.encode_text(clip.sentences(names, "a photo of a {}."))
    torch.testing.assert_close(clip.encode_text(sentences, context), fixed)


@pytest.mark.parametrize(
    ("position", "words"),
    [
        ("end", lambda n: [None, None, None, None, f"{n}."]),
        ("middle", lambda n: [None, None, n, None, None, "."]),
        ("front", lambda n: [n, None, None, None, None, "."]),
    ],
)
@pytest.mark.parametrize("csc", [False, True])
def test_context_stands_where_coop_has_it(clip, names, position, words, csc):
    context = draw(len(names), 4, WIDTH) if csc else draw(4, WIDTH)
    deep = (draw(4, WIDTH, seed=2), draw(4, WIDTH, seed=3))
    sentences = clip.sentences(names, TEMPLATE, 4, position)
    found = clip.encode_text(sentences, Prompts(text=context, deep_text=deep))
    for index, name in enumerate(names):
        own = context[index] if csc else context
        expected = oracle(clip, name, words(name.replace("_", " ")), own, deep)
        torch.testing.assert_close(found[index], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("position", "words"),
    [
        ("end", lambda n: [None, None, "of a", f"{n}."]),
        ("middle", lambda n: [None, n, None, "of a", "."]),
        ("front", lambda n: [n, None, None, "of a", "."]),
    ],
)
def test_words_beyond_the_context_stay_in_the_sentence(clip, names, position, words):
    context = draw(2, WIDTH)
    sentences = clip.sentences(names, "a photo of a {}.", 2, position)
    found = clip.encode_text(sentences, Prompts(text=context))
    for index, name in enumerate(names):
        expected = oracle(clip, name, words(name.replace("_", " ")), context)
        torch.testing.assert_close(found[index], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("classes", [1, 5])
@pytest.mark.parametrize("position", ["end", "middle"])
@pytest.mark.parametrize("deep", [False, True])
def test_prompts_by_image_are_a_loop_over_images(clip, names, classes, position, deep):
    context = draw(3, classes, 4, WIDTH)
    # Deep prompts by image, by class and shared may stand side by side.
    blocks = (draw(3, 1, 4, WIDTH, seed=2), draw(len(names), 4, WIDTH, seed=3)) if deep else ()
    sentences = clip.sentences(names, TEMPLATE, 4, position)
    found = clip.encode_text(sentences, Prompts(text=context, deep_text=blocks))
    assert found.shape == (3, len(names), clip.dim)
    for index in range(3):
        own = tuple(block[index] if block.dim() == 4 else block for block in blocks)
        one = clip.encode_text(sentences, Prompts(text=context[index], deep_text=own))
        torch.testing.assert_close(found[index], one, atol=1e-5, rtol=1e-4)


def test_deep_prompts_by_image_need_no_first_ones(clip, names):
    sentences = clip.sentences(names, TEMPLATE, 4)
    deep = draw(2, 1, 4, WIDTH)
    found = clip.encode_text(sentences, Prompts(deep_text=(deep,)))
    for index in range(2):
        one = clip.encode_text(sentences, Prompts(deep_text=(deep[index, 0],)))
        torch.testing.assert_close(found[index], one, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("by_image", [False, True])
def test_image_prompts_are_those_of_a_hand_made_tower(clip, images, depth, by_image):
    shape = (len(images), 2, IMAGE_WIDTH) if by_image else (2, IMAGE_WIDTH)
    prompts = [draw(*shape, seed=seed) for seed in range(depth)]
    found = clip.encode_image(images, Prompts(image=prompts[0], deep_image=tuple(prompts[1:])))
    visual = clip.model.visual
    for index, image in enumerate(images):
        own = [prompt[index] if by_image else prompt for prompt in prompts]
        x = visual.conv1(image[None]).flatten(2).transpose(1, 2)
        x = torch.cat([visual.class_embedding[None, None], x], dim=1) + visual.positional_embedding
        x = visual.ln_pre(torch.cat([x, own[0][None]], dim=1))
        for number, block in enumerate(visual.transformer.resblocks):
            if 0 < number < depth:
                x = torch.cat([x[:, :-2], own[number][None]], dim=1)
            x = block(x)
        expected = (visual.ln_post(x[:, 0]) @ visual.proj)[0]
        torch.testing.assert_close(found[index], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("position", ["end", "front"])
def test_gradients_reach_every_prompt(clip, names, images, position):
    text = [draw(4, WIDTH, seed=i).requires_grad_() for i in range(3)]
    image = [draw(2, IMAGE_WIDTH, seed=i).requires_grad_() for i in range(3)]
    prompts = Prompts(text[0], image[0], tuple(text[1:]), tuple(image[1:]))
    sentences = clip.sentences(names, TEMPLATE, 4, position)
    with twice_differentiable():
        logits = clip.encode_image(images, prompts) @ clip.encode_text(sentences, prompts).T
        first = torch.autograd.grad(logits.square().mean(), text + image, create_graph=True)
    assert all(gradient.abs().max() > 0 for gradient in first)
    second = torch.autograd.grad(sum(gradient.square().sum() for gradient in first), text + image)
    assert all(gradient.abs().max() > 0 for gradient in second)
    assert all(value.grad is None for value in clip.model.parameters())


@pytest.mark.parametrize(("precision", "tolerance"), [("bf16", 0.05), ("fp16", 0.01)])
def test_half_precision_is_near_and_prompts_stay_fp32(clip, names, images, precision, tolerance):
    half = FrozenCLIP(clip.model, clip.text.tokenizer, precision=precision)
    sentences = clip.sentences(names, TEMPLATE, 4)
    context = draw(4, WIDTH).mul(0.1).requires_grad_()
    prompts = Prompts(text=context, image=draw(2, IMAGE_WIDTH))
    for encode, given in (("encode_text", sentences), ("encode_image", images)):
        exact, rounded = (getattr(one, encode)(given, prompts) for one in (clip, half))
        assert rounded.dtype == torch.float32
        assert 0 < (exact - rounded).norm() / exact.norm() < tolerance
    (gradient,) = torch.autograd.grad(half.encode_text(sentences, prompts).sum(), context)
    assert gradient.dtype == torch.float32
    with torch.autocast(
        "cpu", dtype=torch.bfloat16
    ):  # fp32 is fp32 also within somebody's autocast
        assert not torch.equal(clip.encode_image(images), clip.model.encode_image(images))
        inside = clip.encode_image(images)
    assert torch.equal(inside, clip.encode_image(images))


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        (Prompts(text=torch.zeros(3, WIDTH)), "does not fit 5 classes with 4 places of width 48"),
        (Prompts(text=torch.zeros(4, 7)), "does not fit"),
        (Prompts(text=torch.zeros(2, 4, WIDTH)), "does not fit"),
        (Prompts(text=torch.zeros(WIDTH)), "does not fit"),
        (Prompts(deep_text=(torch.zeros(5, WIDTH),)), "does not fit"),
        (
            Prompts(text=torch.zeros(2, 1, 4, WIDTH), deep_text=(torch.zeros(3, 1, 4, WIDTH),)),
            "does not fit",
        ),
        (Prompts(deep_text=(torch.zeros(4, WIDTH),) * 3), "3 deep text prompts, but .* 2 blocks"),
    ],
)
def test_text_prompts_that_do_not_fit_are_refused(clip, names, prompts, message):
    with pytest.raises(UserError, match=message):
        clip.encode_text(clip.sentences(names, TEMPLATE, 4), prompts)


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        (Prompts(image=torch.zeros(2, 7)), r"fits neither \(n, 64\) nor \(batch 3, n, 64\)"),
        (Prompts(image=torch.zeros(2, 2, IMAGE_WIDTH)), "fits neither"),
        (Prompts(deep_image=(torch.zeros(IMAGE_WIDTH),)), "fits neither"),
        (Prompts(deep_image=(torch.zeros(2, IMAGE_WIDTH),) * 3), "3 deep image prompts, but .* 2"),
    ],
)
def test_image_prompts_that_do_not_fit_are_refused(clip, images, prompts, message):
    with pytest.raises(UserError, match=message):
        clip.encode_image(images, prompts)


def test_sentences_that_cannot_hold_the_context_are_refused(clip):
    with pytest.raises(UserError, match="class 'dog' is too long with 75 .* reads 77 tokens"):
        clip.sentences(("dog",), "X " * 75 + "{}.", 75)
    assert clip.sentences(("dog",), "X " * 74 + "{}", 74).ids.shape == (1, 77)
    with pytest.raises(UserError, match="'a photo' before the class name has 2 tokens, too few"):
        clip.sentences(("dog",), "a photo {}.", 3)
    with pytest.raises(UserError, match="has other tokens before the class name"):
        clip.sentences(("dog", "--"), "a photo-{}.", 3)
    with pytest.raises(UserError, match="position is 'top', not end or middle or front"):
        clip.sentences(("dog",), TEMPLATE, 4, "top")
