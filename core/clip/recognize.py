"""Find the architecture that tensors belong to, by their shapes."""

from typing import Any

from torch import Tensor

from softprompt.core.clip.hub import QUICK


def architectures_of(tensors: dict[str, Tensor]) -> list[str]:
    """Return open_clip's names of the architectures, with ViT towers of its own, that have these.

    Args:
        tensors: by open_clip's names.
    """
    import open_clip

    found = _sizes(tensors)
    if found is None:
        return []
    return [
        name
        for name in open_clip.list_models()
        if QUICK not in name and _wanted(open_clip.get_model_config(name) or {}) == found
    ]


def _sizes(tensors: dict[str, Tensor]) -> tuple[int, ...] | None:
    """Return the sizes that tell architectures apart, None if these are no ViT's tensors."""
    try:
        width, _, patch, _ = tensors["visual.conv1.weight"].shape
        places, _ = tensors["visual.positional_embedding"].shape
        context, text_width = tensors["positional_embedding"].shape
        _, dim = tensors["visual.proj"].shape
    except (KeyError, ValueError):
        return None
    layers = (_layers(tensors, tower) for tower in ("visual.transformer", "transformer"))
    return (width, patch, places, context, text_width, dim, *layers)


def _wanted(config: dict[str, Any]) -> tuple[int, ...] | None:
    """Return the same sizes of one of open_clip's configurations."""
    image, text = config.get("vision_cfg", {}), config.get("text_cfg", {})
    try:
        size, patch = image["image_size"], image["patch_size"]
        towers = image["width"], patch, (size // patch) ** 2 + 1
        words = text.get("context_length", 77), text["width"], config["embed_dim"]
        return (*towers, *words, image["layers"], text["layers"])
    except (KeyError, TypeError):  # another kind of tower
        return None


def _layers(tensors: dict[str, Tensor], tower: str) -> int:
    return sum(
        name.startswith(f"{tower}.resblocks.") and name.endswith(".ln_1.weight") for name in tensors
    )
