"""Each family of towers as a small random model of its kind, and how backbones are built."""

import copy
import functools
import io
import logging
import ssl
import urllib.error
from email.message import Message

import pytest
import torch
from huggingface_hub import constants
from torch import nn

from softprompt.core.base.errors import UserError
from softprompt.core.clip import build as backbone
from softprompt.core.clip import hub
from softprompt.core.clip.build import bare_model, build_clip
from softprompt.core.clip.frozen import FrozenCLIP
from softprompt.core.clip.gradients import twice_differentiable
from softprompt.core.clip.towers.pick import image_tower, text_tower
from softprompt.core.prompts.base import Prompts

TINY_VIT = {"embed_dim": 48, "depth": 3, "num_heads": 4}
NATIVE = {"image_size": 48, "layers": 3, "width": 48, "head_width": 16, "patch_size": 16}
# open_clip's models and what makes them small: options of timm's model, or of open_clip's own.
PROMPTED = {
    "ViT-B-16": NATIVE,
    "ViT-H-14-CLIPA": NATIVE,
    "ViT-L-14-worldwide": NATIVE,
    "ViT-B-16-SigLIP": {"img_size": 48, **TINY_VIT},
    "ViT-B-16-SigLIP2": {"img_size": 48, **TINY_VIT},
    "MobileCLIP-B": {"img_size": 64, "depth": 3},
    "MobileCLIP2-L-14": {"img_size": 42, **TINY_VIT},
    "ViTamin-S": {"img_size": 64, "depth": 3},
    "EVA01-g-14": {"img_size": 42, **TINY_VIT},
    "EVA02-B-16": {"img_size": 48, **TINY_VIT},
    "PE-Core-B-16": {"img_size": 48, "attn_pool_num_heads": 4, **TINY_VIT},
    "PE-Core-bigG-14-448": {"img_size": 42, **TINY_VIT},
}
PLAIN = {
    "RN50": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8},
    "convnext_base_w": {"depths": (1, 1, 1, 1), "dims": (8, 8, 16, 16)},
    "MobileCLIP-S1": {"layers": (1, 1, 1, 1), "embed_dims": (16, 16, 32, 32)},
}
FULL_LENGTH = (
    *("ViT-B-16-SigLIP", "ViT-B-16-SigLIP2", "ViT-H-14-CLIPA", "MobileCLIP2-L-14"),
    "MobileCLIP-S1",
)
NAMES = ("song bird", "jet_airplane", "dog", "owl")


class Pieces:
    """A stand-in for a Hugging Face tokenizer, which no test can download.

    Words of more than four letters are two pieces, and a sentence's first word is another piece
    than the same word within it, as in Gemma's vocabulary.
    """

    def __init__(self, context_length, start=(), end=1, padding=0, glued=(), split_x=False):
        self.context_length = context_length
        self.start, self.end, self.padding = list(start), end, padding
        self.glued = glued  # words that make one piece with the word before them
        self.split_x = split_x
        self.known = {}

    def __call__(self, texts, context_length=None):
        length = context_length or self.context_length
        rows = []
        for text in texts:
            words = text.lower().replace("_", " ").replace(".", "").split()
            pieces = []
            for index, word in enumerate(words):
                if word in self.glued and pieces:
                    pieces[-1] += word
                    continue
                parts = [word[:4], word[4:]] if len(word) > 4 else [word]
                if self.split_x and word == "x":
                    parts = ["_", "x"]
                pieces += ["^" + parts[0] if index == 0 else parts[0], *filter(None, parts[1:])]
            ids = [self.known.setdefault(piece, 10 + len(self.known)) for piece in pieces]
            row = [*self.start, *ids][: length - 1] + [self.end]
            rows.append(row + [self.padding] * (length - len(row)))
        return torch.tensor(rows)


def tokenizer_of(name, length):
    if "SigLIP2" in name:
        return Pieces(length)
    if "SigLIP" in name:
        return Pieces(length, padding=1, split_x=True)
    if "CLIPA" in name:  # BERT's, whose end open_clip overwrites with padding
        return Pieces(length, start=[101], end=0)
    if "worldwide" in name:
        return Pieces(length)
    return clips_tokenizer(name)


@functools.cache
def clips_tokenizer(name):
    import open_clip

    return open_clip.get_tokenizer(name)


def small_model(name):
    """The architecture ``name`` with few narrow layers; nothing is left out of it."""
    return copy.deepcopy(built_once(name))


@functools.cache
def built_once(name):
    import open_clip
    import timm

    create = timm.create_model
    small = {**PROMPTED, **PLAIN}[name]
    config = open_clip.get_model_config(name)
    custom = config.pop("custom_text", False)
    config["embed_dim"] = 48
    config["text_cfg"].update(width=32, heads=4, layers=3)
    if "hf_tokenizer_name" in config["text_cfg"]:
        config["text_cfg"]["vocab_size"] = 200
    with pytest.MonkeyPatch.context() as patched, torch.random.fork_rng(devices=[]):
        if "timm_model_name" in config["vision_cfg"]:
            config["vision_cfg"]["image_size"] = small.get("img_size", 64)
            patched.setattr(timm, "create_model", lambda *a, **k: create(*a, **k, **small))
        else:
            config["vision_cfg"].update(small)
        torch.manual_seed(0)
        model = (open_clip.CustomTextCLIP if custom else open_clip.CLIP)(**config)
        for value in model.parameters():  # norms and biases too, else they could be left out unseen
            value.data += 0.05 * torch.randn_like(value)
    return model


@pytest.fixture
def small():
    def build(name, **options):
        model = small_model(name)
        context_length = getattr(model, "text", model).context_length
        return FrozenCLIP(model, tokenizer_of(name, context_length), name=name, **options)

    return build


@pytest.fixture
def native(monkeypatch):
    """A small architecture among open_clip's own, with pretrained weights ``mine``."""
    import open_clip

    config = {
        "embed_dim": 32,
        "vision_cfg": NATIVE,
        "text_cfg": {"width": 32, "heads": 4, "layers": 3},
    }
    entry = {"url": "", "mean": (0.1,) * 3, "std": (0.2,) * 3, "quick_gelu": True}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "native", config)
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "native", {"mine": entry})
    return "native"


def draw(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def assert_close(found, expected):
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def distance(found, expected) -> float:
    return (found - expected).abs().max().item()


@pytest.mark.parametrize("name", [*PROMPTED, *PLAIN])
def test_without_prompts_features_are_the_models_own(small, name):
    clip = small(name)
    images = draw(2, 3, *clip.image_size)
    words = [f"a photo of a {each.replace('_', ' ')}." for each in NAMES]
    ids = clip.text.tokenizer(words, clip.text.context_length)
    sentences = clip.sentences(NAMES, "a photo of a {}.")
    full = name in FULL_LENGTH
    assert (sentences.ids.shape[1] == clip.text.context_length) == full
    with torch.no_grad():
        image, text = clip.encode_image(images), clip.encode_text(sentences)
        assert_close(image, clip.model.encode_image(images))
        assert_close(text, clip.model.encode_text(ids))
    assert image.shape == (2, clip.dim) and text.shape == (len(NAMES), clip.dim)
    assert clip.unprompted_error() < 1e-5


@pytest.mark.parametrize("name", PROMPTED)
def test_image_prompts_of_every_depth_change_the_features_and_learn(small, name):
    clip = small(name)
    assert clip.image_depth == 3
    images = draw(2, 3, *clip.image_size)
    prompts = [draw(2, clip.image_width, seed=seed).requires_grad_() for seed in range(3)]
    found = [clip.encode_image(images)]
    for depth in (1, 2, 3):
        given = Prompts(image=prompts[0], deep_image=tuple(prompts[1:depth]))
        found.append(clip.encode_image(images, given))
        assert distance(found[-1], found[-2]) > 1e-5
    gradients = torch.autograd.grad(found[-1].square().sum(), prompts)
    assert all(gradient.abs().max() > 0 for gradient in gradients)
    by_image = Prompts(image=torch.stack([prompts[0], prompts[1]]))
    both = clip.encode_image(images, by_image)
    for index in range(2):
        alone = clip.encode_image(images[index : index + 1], Prompts(image=prompts[index]))
        assert_close(both[index], alone[0])


@pytest.mark.parametrize("name", [name for name in PROMPTED if "embed_dim" in PROMPTED[name]])
def test_image_prompts_are_those_that_hooks_put_into_timms_forward(small, name):
    """The hooks put the prompt behind the class token, among the tokens that Eva never rotates."""
    clip = small(name)
    trunk = clip.model.visual.trunk
    images = draw(2, 3, *clip.image_size)
    prompts = [draw(2, clip.image_width, seed=seed) for seed in range(3)]
    given = Prompts(image=prompts[0], deep_image=tuple(prompts[1:]))
    with torch.no_grad():
        found = clip.encode_image(images, given)
        first = trunk.num_prefix_tokens

        def put(x, vectors, rest):
            return torch.cat([x[:, :first], vectors.expand(len(x), -1, -1), x[:, rest:]], dim=1)

        trunk.norm_pre.register_forward_pre_hook(lambda m, x: put(x[0], prompts[0], first))
        for block, vectors in zip(trunk.blocks[1:], prompts[1:], strict=True):
            block.register_forward_pre_hook(lambda m, x, v=vectors: put(x[0], v, first + 2))
        trunk.norm.register_forward_pre_hook(lambda m, x: put(x[0], x[0][0, :0], first + 2))
        for block in trunk.blocks:
            block.attn.num_prefix_tokens = first + 2
        assert_close(found, clip.model.encode_image(images))


@pytest.mark.parametrize("name", ["MobileCLIP-B", "ViT-B-16-SigLIP", "EVA02-B-16", "PE-Core-B-16"])
def test_timm_towers_can_be_differentiated_twice(small, name):
    clip = small(name)
    images = draw(2, 3, *clip.image_size)
    prompts = [draw(2, clip.image_width, seed=seed).requires_grad_() for seed in range(2)]
    with twice_differentiable():
        features = clip.encode_image(images, Prompts(image=prompts[0], deep_image=(prompts[1],)))
        first = torch.autograd.grad(features.square().sum(), prompts, create_graph=True)
    second = torch.autograd.grad(sum(one.square().sum() for one in first), prompts)
    assert all(one.abs().max() > 0 for one in second)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("name", ["ViT-B-16-SigLIP", "EVA02-B-16", "RN50"])
def test_half_precision_is_near(small, name, precision):
    exact, half = small(name), small(name, precision=precision)
    images = draw(2, 3, *exact.image_size)
    prompts = Prompts(image=draw(2, exact.image_width)) if exact.image_depth else Prompts()
    with torch.no_grad():
        found, rounded = exact.encode_image(images, prompts), half.encode_image(images, prompts)
    assert rounded.dtype == torch.float32
    assert 0 < (found - rounded).norm() / found.norm() < 0.03


def slow_text(clip, rows, slots, context, deep=()):
    """Each sentence alone, at full length, one vector set at a time."""
    text = getattr(clip.model, "text", clip.model)
    features = []
    for row, places in zip(rows, slots, strict=True):
        x = text.token_embedding(row[None]).clone()
        for k, place in enumerate(places):
            x[0, place] = context[k]
        x = x + text.positional_embedding
        for index, block in enumerate(text.transformer.resblocks):
            for k, place in enumerate(places if 0 < index <= len(deep) else ()):
                x = x.clone()
                x[0, place] = deep[index - 1][k]
            x = block(x, attn_mask=text.attn_mask)
        pool = getattr(text, "pool_type", None) or text.text_pool_type
        end = {"last": len(row) - 1, "argmax": row.argmax(), "eos": (row == 1).int().argmax()}[pool]
        pooled = text.ln_final(x[0, end])
        project = text.text_projection
        features.append(project(pooled) if isinstance(project, nn.Linear) else pooled @ project)
    return torch.stack(features)


@pytest.mark.parametrize("template", ["X X X {}.", "a photo of {}."])
@pytest.mark.parametrize("name", ["ViT-B-16", "ViT-L-14-worldwide", *FULL_LENGTH])
def test_text_prompts_are_those_of_a_hand_made_tower(small, name, template):
    clip = small(name)
    start = 0 if "SigLIP" in name or "worldwide" in name else 1
    n = 4 if "photo" in template and isinstance(clip.text.tokenizer, Pieces) else 3
    context = draw(n, clip.text_width)
    deep = (draw(n, clip.text_width, seed=2), draw(n, clip.text_width, seed=3))
    sentences = clip.sentences(NAMES, template, n)
    assert torch.equal(sentences.slots, torch.arange(start, start + n).expand(len(NAMES), n))
    # Which word held the places cannot matter: an "a" is one token in each vocabulary.
    held = template.replace("X", "a")
    words = [held.replace("{}", each.replace("_", " ")) for each in NAMES]
    rows = clip.text.tokenizer(words, clip.text.context_length)
    found = clip.encode_text(sentences, Prompts(text=context, deep_text=deep))
    expected = slow_text(clip, rows, sentences.slots.tolist(), context, deep)
    assert_close(found, expected)
    assert distance(found, clip.encode_text(sentences, Prompts(text=context))) > 1e-5


@pytest.mark.parametrize("position", ["middle", "front"])
def test_siglips_names_move_among_the_context(small, position):
    clip = small("ViT-B-16-SigLIP2")
    sentences = clip.sentences(NAMES, "X X X X {}", 4, position)
    ahead = 2 if position == "middle" else 0
    for each, row, slots in zip(NAMES, sentences.ids, sentences.slots.tolist(), strict=True):
        # The name has the ids that it has within a sentence, and stands behind `ahead` slots.
        ids = clip.text.tokens.words([f"a {each.replace('_', ' ')}"])[0][1:]
        assert row[ahead : ahead + len(ids)].tolist() == ids
        assert slots == [*range(ahead), *range(ahead + len(ids), 4 + len(ids))]
        assert row[4 + len(ids) :].tolist() == [1] + [0] * (len(row) - 5 - len(ids))
    context = draw(len(NAMES), 4, clip.text_width)
    found = clip.encode_text(sentences, Prompts(text=context))
    for index in range(len(NAMES)):
        one = [sentences.slots[index].tolist()]
        assert_close(found[index], slow_text(clip, sentences.ids[[index]], one, context[index])[0])


def test_a_phrase_that_a_class_name_changes_is_refused(small):
    clip = small("ViT-B-16-SigLIP")
    clip.text.tokenizer.glued = ("owl",)
    with pytest.raises(UserError, match="other tokens before the class name 'owl' .* CTX_INIT ''"):
        clip.sentences(NAMES, "a photo of a {}.", 5)


def test_a_sentence_too_long_for_siglip_is_refused(small):
    clip = small("ViT-B-16-SigLIP")
    assert clip.sentences(("dog",), "X " * 62 + "{}", 62).ids.shape == (1, 64)
    with pytest.raises(UserError, match="'dog' is too long with 63 .* reads 64 tokens"):
        clip.sentences(("dog",), "X " * 63 + "{}", 63)


def test_clips_own_tokenizer_is_read_off_right(native):
    tokenizer = clips_tokenizer("ViT-B-16")
    tokens = text_tower(bare_model(native), tokenizer).tokens
    texts = ["a photo of a dog.", "", "!!", "st. bernard's 2nd crème brûlée"]
    assert tokens.words(texts) == [tokenizer.encode(text) for text in texts]
    assert tokens.start == 1 and tokens.placeholder == "X"


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("learner", ["ivlp", "vpt", "maple"])
def test_image_prompts_need_an_image_tower_that_takes_them(small, make_model, name, learner):
    clip = small(name)
    with pytest.raises(UserError, match="takes no image prompts; use a text-only learner"):
        _ = clip.image_width
    with pytest.raises(UserError, match="takes no image prompts; use a text-only learner"):
        clip.encode_image(draw(1, 3, *clip.image_size), Prompts(image=draw(2, 8)))
    with pytest.raises(UserError, match="takes no image prompts|tower has 0 blocks"):
        make_model(learner, clip)


@pytest.mark.parametrize("name", [*PLAIN, "ViT-B-16-SigLIP", "EVA02-B-16"])
@pytest.mark.parametrize("learner", ["coop", "cocoop", "language_only"])
def test_text_only_learners_train_on_every_backbone(small, make_model, make_trainer, name, learner):
    from softprompt.core.data.batch import Batch

    clip = small(name)
    options = {} if learner == "language_only" else {"ctx_init": "", "n_ctx": 4}
    model = make_model(learner, clip, NAMES, **options)
    before = {key: value.detach().clone() for key, value in model.params().items()}
    trainer = make_trainer("erm", model)
    loss = trainer.step(Batch(draw(4, 3, *clip.image_size), torch.arange(4)))
    assert all(torch.isfinite(value) for value in loss.values())
    assert any(not torch.equal(value, before[key]) for key, value in model.params().items())


def test_other_towers_are_refused():
    class Unknown(nn.Module):
        pass

    with pytest.raises(UserError, match=r"image tower \(Unknown\) is not supported"):
        image_tower(Unknown())
    with pytest.raises(UserError, match=r"text tower \(Unknown\) is not supported"):
        text_tower(Unknown(), None)
    for name, message in (
        ("coca_ViT-B-32", r"text tower \(CoCa\) is not supported"),
        ("roberta-ViT-B-32", "roberta-base from Hugging Face, which cannot be prompted"),
        ("ViT-B-61", "no backbone named 'ViT-B-61'; did you mean 'ViT-B-16'"),
        ("ViT-B/61", "did you mean 'ViT-B/16'"),
    ):
        with torch.device("meta"), pytest.raises(UserError, match=message):
            bare_model(name, device="meta")


def test_a_text_tower_that_pools_otherwise_is_refused():
    model = small_model("ViT-B-16-SigLIP")
    model.text.pool_type = "first"
    with pytest.raises(UserError, match="pools by 'first', not by argmax, eos, last"):
        text_tower(model, None)
    model.text.pool_type, model.text.use_pad_mask = "last", True
    with pytest.raises(UserError, match="masks by sentence"):
        text_tower(model, None)


def test_an_unknown_walk_is_refused(monkeypatch):
    monkeypatch.setattr(FrozenCLIP, "unprompted_error", lambda clip: 0.5)
    with pytest.raises(UserError, match=r"tiny gives other features here .* 5.0e-01"):
        build_clip("tiny", "")


@pytest.mark.parametrize("name", sorted(backbone.COOP_NAMES))
def test_coops_names_are_openais_architectures(name):
    with torch.device("meta"):
        model = bare_model(name, device="meta")
    kinds = {type(module).__name__ for module in model.modules()}
    assert "QuickGELU" in kinds and "GELU" not in kinds
    assert (image_tower(model.visual).depth == 0) == name.startswith("RN")


@pytest.mark.parametrize(
    ("name", "tag", "quick"),
    [
        ("ViT-B/16", "openai", True),
        ("ViT-B/16", "laion2b_s34b_b88k", False),
        ("ViT-B-16", "openai", True),
        ("ViT-B-16", "metaclip_400m", True),
        ("ViT-B-16", "datacomp_xl_s13b_b90k", False),
        ("ViT-H-14-378", "dfn5b", True),
    ],
)
def test_the_activation_is_the_one_of_the_weights(name, tag, quick):
    with torch.device("meta"):
        model = bare_model(name, hub.entry_of(name, tag), device="meta")
    kinds = {type(module).__name__ for module in model.modules()}
    assert ("QuickGELU" in kinds) == quick


@pytest.mark.parametrize(
    ("name", "mean"),
    [
        ("ViT-B/16", (0.48145466, 0.4578275, 0.40821073)),
        ("ViT-B-16-SigLIP", (0.5, 0.5, 0.5)),
        ("MobileCLIP-B", (0.0, 0.0, 0.0)),
        ("ViT-L-14-CLIPA", (0.485, 0.456, 0.406)),
    ],
)
def test_pixel_statistics_are_those_of_the_weights(name, mean):
    with torch.device("meta"):
        assert bare_model(name, device="meta").visual.image_mean == mean


def test_random_weights_are_always_the_same_and_nobody_warns(native, caplog):
    root = logging.getLogger()
    before = root.level, list(root.handlers)
    with caplog.at_level(logging.INFO):
        one, other = build_clip(native, ""), bare_model(native)
    assert not [record for record in caplog.records if record.name == "root"]
    assert (root.level, list(root.handlers)) == before
    assert one.weights == "random"
    for name, value in other.state_dict().items():
        assert torch.equal(value, one.model.state_dict()[name])


@pytest.mark.parametrize(
    ("name", "pretrained", "message"),
    [
        ("tiny", "openai", "'openai' is neither a file nor 'tiny'"),
        ("ViT-B/16", "opena", "neither a file nor one .* ViT-B/16; did you mean 'openai'"),
        ("ViT-B-16-plus", "openai", "weights for ViT-B-16-plus: none"),
        ("ViT-B/61", "openai", "no backbone named 'ViT-B/61'"),
    ],
)
def test_weights_that_do_not_exist_are_refused(name, pretrained, message):
    with pytest.raises(UserError, match=message) as error:
        build_clip(name, pretrained)
    assert "\n" not in str(error.value)


def test_weights_that_cannot_be_fetched_give_one_line(monkeypatch, native):
    def fail(entry):
        raise OSError("no route to host\nand a second line")

    monkeypatch.setattr("open_clip.download_pretrained", fail)
    with pytest.raises(UserError, match=r"'mine' of native .* fetched \(no route") as error:
        build_clip(native, "mine")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("answer", "offline"),
    [
        (None, False),
        (urllib.error.HTTPError("", 403, "", Message(), None), False),
        (urllib.error.URLError(ssl.SSLError()), False),  # the client may know other certificates
        (urllib.error.URLError("no such host"), True),
        (TimeoutError(), True),
    ],
)
def test_offline_the_hubs_client_does_not_try_again_for_a_minute(monkeypatch, answer, offline):
    def open_(request, timeout):
        assert timeout <= 5
        if answer:
            raise answer
        return io.BytesIO()

    monkeypatch.setattr("urllib.request.urlopen", open_)
    before = constants.HF_HUB_OFFLINE
    with hub.without_retries_offline():
        assert constants.HF_HUB_OFFLINE == offline
    assert constants.HF_HUB_OFFLINE == before


def test_weights_that_are_fetched_are_loaded(monkeypatch, native, tmp_path):
    values = {name: value + 0.01 for name, value in bare_model(native).state_dict().items()}
    file = str(tmp_path / "fetched.pt")
    torch.save(values, file)
    monkeypatch.setattr("open_clip.download_pretrained", lambda entry: file)
    clip = build_clip(native, "mine")
    assert clip.weights == "mine"
    assert clip.model.visual.image_mean == (0.1,) * 3
    assert all(torch.equal(value, values[name]) for name, value in clip.model.state_dict().items())
    assert "QuickGELU" in {type(module).__name__ for module in clip.model.modules()}


def test_a_tokenizer_that_cannot_be_fetched_gives_one_line(monkeypatch):
    def fail(name):
        raise OSError("no route to host\nand a second line")

    monkeypatch.setattr("open_clip.get_tokenizer", fail)
    with pytest.raises(UserError, match="timm/ViT-B-16-SigLIP on .*no route to host") as error:
        backbone._tokenizer("ViT-B-16-SigLIP")
    assert "\n" not in str(error.value)


def test_the_table_names_what_each_backbone_offers(load_tool, capsys):
    from softprompt.core.studies.backbones import NAMES

    names = ["RN50", "ViT-B/16", "ViT-SO400M-14-SigLIP", "coca_ViT-B-32"]
    assert load_tool("backbones").main(names) == 0
    lines = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[2:] == [
        ["RN50", "no", "yes, 12 blocks", "cut, exact", "224", "77", "open_clip"],
        ["ViT-B/16", "yes, 12 blocks", "yes, 12 blocks", "cut, exact", "224", "77", "open_clip"],
        [
            *("ViT-SO400M-14-SigLIP", "yes, 27 blocks", "yes, 27 blocks", "full", "224", "16"),
            "Hugging Face",
        ],
        ["coca_ViT-B-32", "no", "no", "-", "-", "-", "-"],
    ]
    assert len(NAMES) == len(set(NAMES))
