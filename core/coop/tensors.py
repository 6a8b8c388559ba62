"""Recognize the trained tensors of an official checkpoint, its method and its settings."""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from softprompt.core.base.errors import UserError
from softprompt.core.coop.names import our_name

FROZEN = re.compile(r"(image_encoder|text_encoder)\..*|logit_scale")
# Patterns of tensors that are left out, with the reason.
LEFT_OUT = (
    (
        r"prompt_learner\.token_(prefix|suffix|midfix)",
        "the embedded words around the context, which are made anew from the backbone",
    ),
    (r"prompt_learner\.ZS_image_encoder\..*", "the teacher's copy of CLIP's image tower"),
    (FROZEN.pattern, "CLIP itself, whose place MODEL.BACKBONE takes"),
)
UNUSED = r"prompt_learner\.(bias_vectors|meta_net\.linear1\.\w+)"  # in KgCoOp's, without effect
ROUNDED = "; PromptSRC's average has rounded it, so the official result may differ by a little"
# Methods with the same prompts.
ALIKE = (("CoOp", "ProGrad", "KgCoOp"), ("IVLP", "PromptSRC", "ProMetaR"))


class Sorted(NamedTuple):
    """An official checkpoint's names: ours to theirs, theirs left out by reason, and unknown."""

    trained: dict[str, str]
    left_out: dict[str, list[str]]
    unknown: list[str]


def methods_of(names: Iterable[str]) -> tuple[str, ...]:
    """Return the official methods whose checkpoints have tensors of these names.

    CoOp's cannot be told from ProGrad's, nor PromptSRC's from ProMetaR's.

    Raises:
        UserError: no method's checkpoint has.
    """
    names = set(names)
    if any(name.startswith(("prompt_learner.proj.", "prompt_learner.compound")) for name in names):
        return ("MaPLe",)
    if "prompt_learner.ctx" in names:
        taught = any("ZS_image_encoder" in name for name in names)
        return ("PromptSRC", "ProMetaR") if taught else ("IVLP",)
    if "image_encoder.VPT" in names:
        return ("VPT",)
    if "ctx" in names:
        if "meta_net.linear2.weight" in names:
            return ("CoCoOp",)
        return ("KgCoOp",) if "bias_vectors" in names else ("CoOp", "ProGrad")
    shown = ", ".join(sorted(names)[:3])
    raise UserError(
        f"its {len(names)} tensors ({shown}{' ...' if len(names) > 3 else ''}) are the prompts of "
        "none of the official methods that are known here"
    )


def fits(method: str, found: tuple[str, ...]) -> bool:
    """Return whether a checkpoint of ``method`` can look like one of the methods ``found``."""
    return method in found or any(method in group and set(found) & set(group) for group in ALIKE)


def sort_names(method: str, names: Iterable[str]) -> Sorted:
    """Separate the trained tensors of an official checkpoint from those that are left out."""
    left_out: dict[str, list[str]] = {}
    names, sorted_ = list(names), Sorted({}, left_out, [])
    whole = any(name.startswith(("prompt_learner.", "image_encoder.")) for name in names)
    for name in names:
        full = name if whole else f"prompt_learner.{name}"  # CoOp's saves its learner alone
        if method == "KgCoOp" and re.fullmatch(UNUSED, full):
            left_out.setdefault("made, but never used by KgCoOp", []).append(name)
            continue
        try:
            sorted_.trained[our_name(method, full)] = name
        except UserError:
            reason = next((why for known, why in LEFT_OUT if re.fullmatch(known, full)), None)
            if reason and method == "PromptSRC" and FROZEN.fullmatch(full):
                reason += ROUNDED
            group = sorted_.unknown if reason is None else left_out.setdefault(reason, [])
            group.append(name)
    return sorted_


def values_held(method: str, shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    """Return the official settings that the tensors determine, by the last part of their keys.

    Args:
        shapes: of the trained tensors, by our name.
    """

    def length(name: str) -> int:
        return shapes[name][-2] if len(shapes.get(name, ())) > 1 else 0

    def depth(tower: str) -> int:
        return sum(name.startswith(f"{tower}.") for name in shapes)

    if "context" in shapes:
        class_specific = {} if method == "CoCoOp" else {"CSC": len(shapes["context"]) == 3}
        return {"N_CTX": length("context"), **class_specific}
    if method == "MaPLe":
        return {"N_CTX": length("text.0"), "PROMPT_DEPTH": depth("text")}
    vision = {"N_CTX_VISION": length("image.0"), "PROMPT_DEPTH_VISION": depth("image")}
    if method == "VPT":
        return vision
    return {"N_CTX_TEXT": length("text.0"), "PROMPT_DEPTH_TEXT": depth("text"), **vision}
