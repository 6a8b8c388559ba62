"""Which prompts each backbone takes, read off the models themselves; no weights are loaded."""

from collections.abc import Sequence
from typing import Any

import torch
from open_clip import get_model_config, list_models
from tabulate import tabulate

from softprompt.core.base.errors import UserError, closest
from softprompt.core.base.escape import as_markdown
from softprompt.core.clip.build import bare_model
from softprompt.core.clip.hub import COOP_NAMES, open_clip_name
from softprompt.core.clip.towers.pick import image_tower, text_tower

NAMES = (
    "RN50 RN101 RN50x4 RN50x16 RN50x64 ViT-B/32 ViT-B/16 ViT-L/14 ViT-L/14@336px "
    "ViT-B-16-plus-240 ViT-H-14 ViT-g-14 ViT-bigG-14 ViT-L-14-CLIPA ViT-H-14-CLIPA "
    "ViT-H-14-worldwide convnext_base_w convnext_large_d_320 convnext_xxlarge "
    "ViT-B-16-SigLIP ViT-L-16-SigLIP-256 ViT-SO400M-14-SigLIP ViT-SO400M-14-SigLIP-384 "
    "ViT-B-32-SigLIP2-256 ViT-B-16-SigLIP2 ViT-L-16-SigLIP2-256 ViT-SO400M-16-SigLIP2-384 "
    "MobileCLIP-S1 MobileCLIP-S2 MobileCLIP-B MobileCLIP2-S0 MobileCLIP2-S4 MobileCLIP2-B "
    "MobileCLIP2-L-14 EVA01-g-14 EVA02-B-16 EVA02-L-14 EVA02-L-14-336 EVA02-E-14 "
    "PE-Core-T-16-384 PE-Core-S-16-384 PE-Core-B-16 PE-Core-L-14-336 PE-Core-bigG-14-448 "
    "ViTamin-S ViTamin-B ViTamin-L coca_ViT-B-32 coca_ViT-L-14 roberta-ViT-B-32 "
    "xlm-roberta-base-ViT-B-32"
).split()
HEADERS = (
    "backbone",
    "image prompts",
    "text prompts",
    "text length",
    "image size",
    "context length",
    "tokenizer",
)


def table(names: Sequence[str] = ()) -> str:
    """Return a Markdown table with a line for each backbone; without names, for all ``NAMES``.

    Raises:
        UserError: there is no backbone of a name.
    """
    known = list_models()
    for name in names:
        if open_clip_name(name) not in known:
            raise UserError(
                f"no backbone named {name!r}{closest(name, [*COOP_NAMES, *known])}; the table "
                f"reads open_clip's models, also by CoOp's names: {', '.join(COOP_NAMES)}"
            )
    return tabulate([row(name) for name in names or NAMES], HEADERS, tablefmt="github")


def row(name: str) -> tuple[str, ...]:
    """Return one backbone's cells, named by ``HEADERS``."""
    try:
        with torch.device("meta"):  # shapes without numbers
            model: Any = bare_model(name, device="meta")
    except UserError:
        return (as_markdown(name), "no", "no", *["-"] * (len(HEADERS) - 3))
    image, text = image_tower(model.visual), text_tower(model, None)
    size = model.visual.image_size
    config = get_model_config(open_clip_name(name)) or {}
    return (
        as_markdown(name),
        f"yes, {image.depth} blocks" if image.depth else "no",
        f"yes, {text.depth} blocks",
        "full" if text.mask is None else "cut, exact",
        str(size[0] if isinstance(size, tuple | list) else size),
        str(text.context_length),
        "Hugging Face" if config["text_cfg"].get("hf_tokenizer_name") else "open_clip",
    )
