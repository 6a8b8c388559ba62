"""The layout in which Hugging Face's ``CLIPModel`` keeps the weights of OpenAI's architectures."""

import re
from typing import Any

import torch
from torch import Tensor

MARK = "vision_model.embeddings.class_embedding"  # only CLIP's image tower has it

# Their names, as patterns, and open_clip's.
NAMES = (
    (r"text_model\.embeddings\.token_embedding", "token_embedding"),
    (r"text_model\.embeddings\.position_embedding\.weight", "positional_embedding"),
    (r"text_model\.final_layer_norm", "ln_final"),
    (r"text_model\.encoder\.layers", "transformer.resblocks"),
    (r"vision_model\.embeddings\.class_embedding", "visual.class_embedding"),
    (r"vision_model\.embeddings\.patch_embedding", "visual.conv1"),
    (r"vision_model\.embeddings\.position_embedding\.weight", "visual.positional_embedding"),
    (r"vision_model\.pre_layrnorm", "visual.ln_pre"),  # spelled so
    (r"vision_model\.post_layernorm", "visual.ln_post"),
    (r"vision_model\.encoder\.layers", "visual.transformer.resblocks"),
    (r"\.layer_norm([12])\.", r".ln_\1."),
    (r"\.mlp\.fc1\.", ".mlp.c_fc."),
    (r"\.mlp\.fc2\.", ".mlp.c_proj."),
    (r"\.self_attn\.out_proj\.", ".attn.out_proj."),
    (r"\.self_attn\.q_proj\.", ".attn.in_proj_"),
)
PROJECTIONS = {
    "text_projection.weight": "text_projection",
    "visual_projection.weight": "visual.proj",
}


def is_clip(tensors: dict[str, Tensor]) -> bool:
    """Return whether tensors have the names of Hugging Face's ``CLIPModel``."""
    return MARK in tensors


def quick_gelu(config: dict[str, Any]) -> bool | None:
    """Return whether the ``config.json`` of a model says QuickGELU, None if it is no CLIP's."""
    if config.get("model_type") != "clip":
        return None
    towers = [config.get(f"{tower}_config") or {} for tower in ("text", "vision")]
    # What equals the default is not written.
    return all(tower.get("hidden_act", "quick_gelu") == "quick_gelu" for tower in towers)


def renamed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under open_clip's names and in its shapes.

    Queries, keys and values are one matrix there, and the projections are transposed. A tensor of
    another name keeps it.
    """
    found: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if name in PROJECTIONS:
            found[PROJECTIONS[name]] = value.t().contiguous()
        elif ".self_attn.q_proj." in name:
            parts = [name.replace(".q_proj.", f".{part}_proj.") for part in "qkv"]
            found[_ours(name)] = torch.cat([tensors[part] for part in parts if part in tensors])
        elif not re.search(r"\.self_attn\.[kv]_proj\.", name):
            found[_ours(name)] = value
    return found


def _ours(name: str) -> str:
    for theirs, ours in NAMES:
        name = re.sub(theirs, ours, name)
    return name
