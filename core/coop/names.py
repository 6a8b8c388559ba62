"""Translate the official names of trained tensors to ours."""

import re

from softprompt.core.base.errors import UserError


def our_name(method: str, name: str) -> str:
    """Return our name of an official trained tensor.

    Raises:
        UserError: there is no such tensor.
    """
    coop_like = method in ("CoOp", "CoCoOp", "ProGrad", "KgCoOp")
    rules = (
        (r"prompt_learner\.ctx", "context" if coop_like else "text.0"),
        (r"prompt_learner\.meta_net\.linear1\.(\w+)", r"meta_net.0.\1"),
        (r"prompt_learner\.meta_net\.linear2\.(\w+)", r"meta_net.2.\1"),
        (r"image_encoder\.VPT", "image.0"),
        (r"image_encoder\.transformer\.resblocks\.(\d+)\.VPT_shallow", r"image.\1"),
        (r"text_encoder\.transformer\.resblocks\.(\d+)\.VPT_shallow", r"text.\1"),
        (r"prompt_learner\.proj\.(\w+)", r"coupling.0.\1"),
        (r"prompt_learner\.compound_prompts_text\.(\d+)", lambda m: f"text.{int(m[1]) + 1}"),
        (
            r"prompt_learner\.compound_prompt_projections\.(\d+)\.(\w+)",
            lambda m: f"coupling.{int(m[1]) + 1}.{m[2]}",
        ),
        (r"linear_text_gamma\.(\d+)\.0\.weight", r"gates.text/\1.first.weight"),
        (r"linear_text_gamma\.(\d+)\.1\.weight", r"gates.text/\1.second.weight"),
        (r"linear_vision_gamma\.(\d+)\.0\.weight", r"gates.image/\1.first.weight"),
        (r"linear_vision_gamma\.(\d+)\.1\.weight", r"gates.image/\1.second.weight"),
    )
    for pattern, ours in rules:
        match = re.fullmatch(pattern, name)
        if match:
            return ours(match) if callable(ours) else match.expand(ours)
    raise UserError(f"{method} has no trained tensor {name!r} that is known here")
