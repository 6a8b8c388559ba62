"""The file of trained prompts: safetensors, whose header has, as JSON, all that using them takes.

That is learner, options, class names, template, backbone and configuration.
"""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor
from yacs.config import CfgNode

from softprompt.core.base.errors import UserError
from softprompt.core.base.formats import Shape, check_format, check_shape
from softprompt.core.clip.build import RANDOM
from softprompt.core.config.load import settings
from softprompt.core.config.options import options_from
from softprompt.core.prompts.base import PromptLearner

FORMAT = 1
SHAPE: Shape = {
    "epoch": int,
    "learner": str,
    "trainer": str,
    "classnames": [str],
    "backbone": {"name": str},
    "config": dict,
}


def prompt_header(cfg: CfgNode, learner: PromptLearner, classnames: tuple[str, ...]) -> dict:
    """Return the header of a prompt file, except for its epoch."""
    backbone = cfg.MODEL.BACKBONE
    return {
        "learner": cfg.PROMPT.NAME.lower(),
        "options": options_from(cfg, "PROMPT"),
        "trainer": cfg.TRAINER.NAME.lower(),
        "classnames": list(classnames),
        "template": learner.template,
        "dataset": cfg.DATASET.NAME,
        "backbone": {"name": backbone.NAME, "weights": backbone.PRETRAINED or RANDOM},
        "config": settings(cfg),
    }


def prompt_bytes(prompts: dict[str, Tensor], header: dict[str, Any]) -> bytes:
    """Return the content of a prompt file."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in prompts.items()}
    text = json.dumps({"format": FORMAT, **header})
    return safetensors_bytes(tensors, metadata={"softprompt": text})


def load_prompts(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the header of a prompt file.

    Raises:
        UserError: it is none, it is damaged or of a newer version, or a tensor is not finite.
    """
    tensors, header = read_safetensors(file, "softprompt", "a prompt file")
    if header is None:
        raise UserError(f"{file} holds tensors, but none of softprompt's prompts")
    check_shape(file, header, {"format": object})
    check_format(file, header["format"], FORMAT)
    check_shape(file, header, SHAPE)
    for name, value in tensors.items():
        if not value.isfinite().all():
            raise UserError(
                f"{file} cannot be used: its {name!r} is not finite everywhere, so its training "
                "had diverged; use an epoch before (--load-epoch), or train anew with a smaller "
                "OPTIM.LR"
            )
    return tensors, header


def read_safetensors(file: Path, key: str, kind: str) -> tuple[dict[str, Tensor], Any]:
    """Return the tensors of a safetensors file, and what the JSON text under a key of it holds.

    Args:
        key: of the file's own metadata; what it holds is None where it is missing.
        kind: what the file should be, for messages.

    Raises:
        UserError: the file cannot be read, or that text is no JSON.
    """
    try:
        with safe_open(file, framework="pt") as opened:
            text = (opened.metadata() or {}).get(key)
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file} cannot be read as {kind}: {error}") from None
    try:
        return tensors, None if text is None else json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is damaged: its header is no JSON: {error}") from None
