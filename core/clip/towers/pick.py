"""Which walker goes with a model: decided by what its modules are, never by names."""

from torch import nn

from softprompt.core.base.errors import UserError
from softprompt.core.clip.towers.native import NativeVision
from softprompt.core.clip.towers.plain import PlainVision
from softprompt.core.clip.towers.text import TextTower
from softprompt.core.clip.towers.timm_eva import EvaVision
from softprompt.core.clip.towers.timm_vit import TimmVision

POOLS = ("argmax", "eos", "last")


def image_tower(
    visual: nn.Module, pack: bool = False
) -> NativeVision | TimmVision | EvaVision | PlainVision:
    """Return the walker of an open_clip model's image tower.

    A tower that is known but has no place for prompts is run whole. ``pack`` lays the weights of
    open_clip's own out for oneDNN.

    Raises:
        UserError: it is none of open_clip's towers.
    """
    from open_clip.modified_resnet import ModifiedResNet
    from open_clip.timm_model import TimmModel
    from open_clip.transformer import VisionTransformer
    from timm.models.eva import Eva
    from timm.models.vision_transformer import VisionTransformer as TimmVisionTransformer

    timm_steps = ("forward", "forward_features", "forward_head")
    if _is_plainly(visual, VisionTransformer, "forward"):
        return NativeVision(visual, pack)
    if isinstance(visual, TimmModel):
        trunk = visual.trunk
        if _is_plainly(trunk, TimmVisionTransformer, *timm_steps):
            return TimmVision(visual)
        # In mixed mode each block has a table of rotations of its own, learned for the patches.
        if _is_plainly(trunk, Eva, *timm_steps) and not getattr(trunk, "rope_mixed", False):
            return EvaVision(visual)
    if isinstance(visual, TimmModel | ModifiedResNet | VisionTransformer):
        return PlainVision(visual)
    raise UserError(
        f"this backbone's image tower ({type(visual).__name__}) is not supported; supported are "
        "the towers of open_clip's models"
    )


def text_tower(model: nn.Module, tokenizer, pack: bool = False) -> TextTower:
    """Return the walker of an open_clip model's text tower; ``pack`` is as above.

    Raises:
        UserError: it cannot be prompted exactly.
    """
    from open_clip.coca_model import CoCa
    from open_clip.model import CLIP, CustomTextCLIP
    from open_clip.transformer import TextTransformer

    if isinstance(model, CoCa):
        raise _refusal("CoCa", "its feature is that of a token behind the padding")
    if isinstance(model, CLIP):  # the tower's modules stand on the model itself
        modules, pool, end_id = model, model.text_pool_type, getattr(model, "text_eos_id", None)
    elif isinstance(model, CustomTextCLIP) and _is_plainly(
        model.text, TextTransformer, "forward", "_embeds"
    ):
        modules, pool, end_id = model.text, model.text.pool_type, model.text.eos_id
    else:
        kind = type(getattr(model, "text", model)).__name__
        raise _refusal(kind, "it is not open_clip's own text transformer")
    if getattr(modules, "cls_emb", None) is not None or getattr(modules, "use_pad_mask", False):
        raise _refusal("TextTransformer", "it masks by sentence or adds a token behind the padding")
    if pool not in POOLS:
        raise _refusal("TextTransformer", f"it pools by {pool!r}, not by {', '.join(POOLS)}")
    return TextTower(modules, pool, end_id, tokenizer, pack)


def _is_plainly(module: nn.Module, cls: type, *methods: str) -> bool:
    """Whether ``module`` is a ``cls`` whose subclass, if any, leaves these methods as they are."""
    return isinstance(module, cls) and all(
        getattr(type(module), name) is getattr(cls, name) for name in methods
    )


def _refusal(kind: str, reason: str) -> UserError:
    return UserError(
        f"this backbone's text tower ({kind}) is not supported: {reason}; "
        "docs/results/backbones.md lists those that are"
    )
