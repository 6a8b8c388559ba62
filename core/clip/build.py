"""Build a ``FrozenCLIP`` from a backbone's name and weights."""

import functools
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from yacs.config import CfgNode

from softprompt.core.base.errors import UserError, closest, reason
from softprompt.core.base.files import ASSETS
from softprompt.core.base.seeding import seeded
from softprompt.core.clip.activation import choose
from softprompt.core.clip.frozen import FrozenCLIP
from softprompt.core.clip.hub import (
    COOP_NAMES,
    entries_of,
    entry_of,
    fetched,
    open_clip_name,
    without_retries_offline,
)
from softprompt.core.clip.towers.pick import image_tower, text_tower
from softprompt.core.clip.weight_files import check_no_folder, read_weights
from softprompt.core.clip.weights import load_weights

TINY = "tiny"  # the small CLIP in the package
RANDOM = "random"
TOLERANCE = 1e-3  # relative, between our towers and the model's encoders; rounding: below 1e-5


def build_clip(
    name: str,
    pretrained: str,
    precision: str = "fp32",
    device: str | torch.device = "cpu",
    quick_gelu: str = "auto",
    **options: Any,
) -> FrozenCLIP:
    """Return a frozen CLIP.

    Args:
        name: CoOp's or open_clip's name of the architecture, or "tiny".
        pretrained: one of open_clip's tags, a weight file as ``read_weights`` takes it, or "" for
            random weights.
        precision: arithmetic inside the towers: fp32, bf16 or fp16.
        quick_gelu: their activation: "on" for OpenAI's approximation of GELU, "off", or "auto" for
            what the weights say, or else what goes with the architecture's name.
        options: further options of ``FrozenCLIP``.

    Raises:
        UserError: no such architecture, its towers cannot be run exactly with prompts, or its
            tokenizer or weights cannot be loaded.
    """
    place = Path(pretrained).expanduser() if pretrained else None
    is_file = place is not None and place.is_file()
    if place and not is_file:
        check_no_folder(place)
    file = read_weights(str(place)) if is_file else None
    if name == TINY:
        if pretrained not in ("", TINY) and not is_file:
            raise UserError(
                f"MODEL.BACKBONE.PRETRAINED {pretrained!r} is neither a file nor {TINY!r}, the "
                f"weights that come with the backbone {TINY}"
            )
        activation = choose(name, quick_gelu, {"quick_gelu": True}, None)
        model, tokenizer = _tiny(activation.quick)
        if pretrained == TINY:
            file = read_weights(str(ASSETS / "tiny.safetensors"))
    else:
        entry = entry_of(name, pretrained) if pretrained and not is_file else {}
        activation = choose(name, quick_gelu, entry, file)
        model = bare_model(name, entry, quick=activation.quick)
        tokenizer = _tokenizer(name)
        if entry:
            file = read_weights(fetched(name, pretrained, entry))
    if file:
        load_weights(model, file)
    clip = FrozenCLIP(
        model,
        tokenizer,
        name=name,
        weights=pretrained or RANDOM,
        precision=precision,
        device=device,
        caution=activation.caution if pretrained else "",
        **options,
    )
    _check_walk(clip)
    return clip


def configured_clip(cfg: CfgNode) -> FrozenCLIP:
    """Return the frozen CLIP that a configuration asks for."""
    model = cfg.MODEL
    return build_clip(
        model.BACKBONE.NAME,
        model.BACKBONE.PRETRAINED,
        model.PRECISION,
        "cuda" if cfg.USE_CUDA and torch.cuda.is_available() else "cpu",
        memory_limit=model.MEMORY_LIMIT,
        quick_gelu=model.BACKBONE.QUICK_GELU,
        onednn=model.PACKED,
    )


def untrained_words(clip: FrozenCLIP, classnames: Sequence[str]) -> list[str]:
    """Return the class names with tokens that the backbone was never trained on."""
    if clip.weights != TINY:
        return []
    from safetensors import safe_open

    with safe_open(ASSETS / "tiny.safetensors", "pt") as opened:
        trained = set(opened.get_tensor("token_embedding.rows").tolist())
    words = clip.text.tokens.words([name.replace("_", " ") for name in classnames])
    return [name for name, ids in zip(classnames, words, strict=True) if not set(ids) <= trained]


def warnings_of(clip: FrozenCLIP, classnames: Sequence[str]) -> list[str]:
    """Return what a reader of this backbone's numbers on these classes must know."""
    found = [clip.caution] if clip.caution else []
    if clip.weights == RANDOM:
        found.append(
            f"RANDOM WEIGHTS: {clip.name} was not pretrained (MODEL.BACKBONE.PRETRAINED "
            '""), so accuracies are near chance'
        )
    words = untrained_words(clip, classnames)
    if words:
        found.append(
            f"the backbone {clip.name} has never seen the words of {len(words)} class "
            f"names ({', '.join(words[:5])}{' ...' if len(words) > 5 else ''})"
        )
    return found


def bare_model(
    name: str,
    entry: dict | None = None,
    device: str | torch.device = "cpu",
    quick: bool | None = None,
) -> nn.Module:
    """Return one of open_clip's models with random weights.

    Args:
        entry: open_clip's entry of the weights to be loaded later, if it has one.
        quick: with OpenAI's approximation of GELU; None: as goes with entry or name.

    Raises:
        UserError: there is no such model, or it cannot be run exactly with prompts.
    """
    import open_clip

    known, own_name = open_clip.list_models(), open_clip_name(name)
    if own_name not in known:
        raise UserError(
            f"no backbone named {name!r}{closest(name, [*known, *COOP_NAMES, TINY])}; there are "
            f"{', '.join(COOP_NAMES)}, {TINY}, and open_clip's models (open_clip.list_models())"
        )
    config = _text_config(own_name)
    if "hf_model_name" in config:  # building it alone would need the network
        raise UserError(
            f"the text tower of {name} is {config['hf_model_name']} from Hugging Face, which "
            "cannot be prompted here; docs/results/backbones.md lists those that can"
        )
    if quick is None:
        quick = choose(name, "auto", entry or {}, None).quick
    with _quiet(), seeded(0, "random weights"):  # all runs with random weights have the same ones
        model = open_clip.create_model(
            own_name, device=device, pretrained_text=False, quick_gelu=quick
        )
    _check_towers(model)
    _set_statistics(model, [entry] if entry else entries_of(own_name))
    return model


def _text_config(name: str) -> dict[str, Any]:
    import open_clip

    return (open_clip.get_model_config(name) or {})["text_cfg"]


def _check_towers(model: Any) -> None:
    """Raise ``UserError`` unless the towers can be run exactly with prompts."""
    image_tower(model.visual)
    text_tower(model, None)


def _tokenizer(name: str) -> Any:
    import open_clip

    own_name = open_clip_name(name)
    try:
        with _quiet():
            with without_retries_offline():
                return open_clip.get_tokenizer(own_name)
    except Exception as error:  # anything that transformers, the network and the hub raise
        hub = _text_config(own_name).get("hf_tokenizer_name")
        raise UserError(
            f"the tokenizer of {name}, {hub} on the Hugging Face hub, cannot be loaded "
            f"({reason(error)}); where there is a network, `pip install transformers "
            f'sentencepiece` and `python -c "import open_clip; '
            f"open_clip.get_tokenizer('{own_name}')\"` get it"
        ) from None


def _tiny(quick: bool) -> tuple[nn.Module, Any]:
    import open_clip

    config = json.loads((ASSETS / "tiny.json").read_text()) | {"quick_gelu": quick}
    with seeded(0, "random weights"):
        model = open_clip.CLIP(**config)
    statistics = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD}
    _set_statistics(model, [statistics])
    return model, _clips_tokenizer(model.context_length)


@functools.cache
def _clips_tokenizer(length: int) -> Any:
    """Return CLIP's tokenizer; reading its merges takes as long as building the small CLIP."""
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer(context_length=length)


def _set_statistics(model: Any, entries: list[dict]) -> None:
    """Set what all ``entries`` have in common of pixel mean, deviation and resizing."""
    from open_clip.model import set_model_preprocess_cfg

    keys = ("mean", "std", "interpolation", "resize_mode")
    shared = dict(getattr(model.visual, "preprocess_cfg", {}))
    for key in keys:
        values = {entry[key] for entry in entries if key in entry}
        if len(values) == 1:
            shared[key] = values.pop()
    set_model_preprocess_cfg(model, shared)


def _check_walk(clip: FrozenCLIP) -> None:
    """Refuse a model whose modules another open_clip or timm connects in another way."""
    error = clip.unprompted_error()
    if not error < TOLERANCE:
        import open_clip
        import timm

        raise UserError(
            f"without prompts {clip.name} gives other features here than open_clip "
            f"{open_clip.__version__} with timm {timm.__version__} does (relative difference "
            f"{error:.1e}); it was tested with open_clip 3.3.0 and timm 1.0.31"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep open_clip from warning on the root logger; we say ourselves that weights are random."""
    root, none = logging.getLogger(), logging.NullHandler()
    level = root.level
    root.addHandler(none)  # without any, logging.warning() would install one permanently
    root.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        root.setLevel(level)
        root.removeHandler(none)
