"""A backbone's shapes without its weights, to compare with those of an official checkpoint."""

from functools import cache
from typing import Any

import torch

from softprompt.core.clip.build import TINY, bare_model, build_clip
from softprompt.core.clip.frozen import FrozenCLIP
from softprompt.core.clip.hub import COOP_NAMES, open_clip_name
from softprompt.core.clip.towers.pick import image_tower, text_tower
from softprompt.core.coop.tensors import FROZEN


class Outline(FrozenCLIP):
    """A ``FrozenCLIP`` on the meta device, to build a prompt learner for its shapes."""

    def __init__(self, name: str):
        import open_clip

        with torch.device("meta"):
            self.model: Any = bare_model(name, device="meta")
        self.name = name
        self.device = torch.device("meta")
        self.text = text_tower(self.model, open_clip.get_tokenizer(open_clip_name(name)))
        self.image = image_tower(self.model.visual)


@cache
def outline(name: str) -> FrozenCLIP:
    """Return the outline of a backbone; ``UserError`` if there is none of that name."""
    return build_clip(TINY, "") if name == TINY else Outline(name)


def other_shape(clip: FrozenCLIP, shapes: dict[str, tuple[int, ...]]) -> tuple | None:
    """Return (name, its shape, the backbone's) of the first CLIP tensor that differs, or None.

    Args:
        shapes: of a checkpoint's tensors by official name.
    """
    own = {name: tuple(value.shape) for name, value in clip.model.state_dict().items()}
    for name, shape in shapes.items():
        if FROZEN.fullmatch(name) and "VPT" not in name:
            ours = name.replace("image_encoder.", "visual.").removeprefix("text_encoder.")
            if own.get(ours) != shape:
                return name, shape, own.get(ours, "no such tensor")
    return None


def backbone_with(shapes: dict[str, tuple[int, ...]]) -> str:
    """Return which of CoOp's backbones a checkpoint with all of CLIP has, "" if none."""
    if "image_encoder.conv1.weight" not in shapes:
        return ""
    names = (name for name in COOP_NAMES if name.startswith("ViT"))
    return next((name for name in names if other_shape(outline(name), shapes) is None), "")
