"""Choose the walker of a model's towers, by the types of its modules and never by names."""

from typing import Any

from torch import nn

from softprompt.core.base.errors import UserError
from softprompt.core.clip.towers.text import TextTower
from softprompt.core.clip.towers.vision import (
    EvaVisionTower,
    FixedVisionTower,
    NativeVisionTower,
    TimmVisionTower,
    VisionTower,
)

POOLS = ("argmax", "eos", "last")


def image_tower(visual: nn.Module) -> VisionTower:
    """Return the walker of an open_clip model's image tower.

    A tower that is known but has no place for prompts is run whole.

    Raises:
        UserError: it is none of open_clip's towers.
    """
    from open_clip.modified_resnet import ModifiedResNet
    from open_clip.timm_model import TimmModel
    from open_clip.transformer import VisionTransformer
    from timm.models.eva import Eva
    from timm.models.vision_transformer import VisionTransformer as TimmVisionTransformer

    timm_steps = ("forward", "forward_features", "forward_head")
    if _keeps(visual, VisionTransformer, "forward"):
        return NativeVisionTower(visual)
    if isinstance(visual, TimmModel):
        trunk = visual.trunk
        if _keeps(trunk, TimmVisionTransformer, *timm_steps):
            return TimmVisionTower(visual)
        # In mixed mode each block has a table of rotations of its own, learned for the patches.
        if _keeps(trunk, Eva, *timm_steps) and not getattr(trunk, "rope_mixed", False):
            return EvaVisionTower(visual)
    if isinstance(visual, TimmModel | ModifiedResNet | VisionTransformer):
        return FixedVisionTower(visual)
    raise UserError(
        f"this backbone's image tower ({type(visual).__name__}) is not supported; supported are "
        "the towers of open_clip's models"
    )


def text_tower(model: Any, tokenizer: Any, kind: type[TextTower] = TextTower) -> TextTower:
    """Return the walker, a ``kind``, of an open_clip model's text tower.

    Raises:
        UserError: it cannot be prompted exactly.
    """
    from open_clip.coca_model import CoCa
    from open_clip.model import CLIP, CustomTextCLIP
    from open_clip.transformer import TextTransformer

    if isinstance(model, CoCa):
        raise _refusal("CoCa", "its feature is that of a token behind the padding")
    text: Any = getattr(model, "text", None)
    modules: Any = model
    if isinstance(model, CLIP):  # the tower's modules are the model's own
        pool, end_id = modules.text_pool_type, getattr(model, "text_eos_id", None)
    elif isinstance(model, CustomTextCLIP) and _keeps(text, TextTransformer, "forward", "_embeds"):
        modules, pool, end_id = text, text.pool_type, text.eos_id
    else:
        found = type(model if text is None else text).__name__
        raise _refusal(found, "it is not open_clip's own text transformer")
    if getattr(modules, "cls_emb", None) is not None or getattr(modules, "use_pad_mask", False):
        raise _refusal("TextTransformer", "it masks by sentence or adds a token behind the padding")
    if pool not in POOLS:
        raise _refusal("TextTransformer", f"it pools by {pool!r}, not by {', '.join(POOLS)}")
    return kind(modules, pool, end_id, tokenizer)


def _keeps(module: nn.Module, cls: type, *methods: str) -> bool:
    """Whether ``module`` is a ``cls`` that has inherited these methods unchanged."""
    return isinstance(module, cls) and all(
        getattr(type(module), name) is getattr(cls, name) for name in methods
    )


def _refusal(kind: str, reason: str) -> UserError:
    return UserError(
        f"this backbone's text tower ({kind}) is not supported: {reason}; "
        "docs/results/backbones.md lists those that are"
    )
