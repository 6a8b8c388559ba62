"""Which activation a backbone's towers have: OpenAI's approximation of GELU, or GELU itself.

Weights were trained with one of the two, and run with the other one they lose points of accuracy
without any error. No tensor shows which it was.
"""

from typing import NamedTuple

from torch import nn

from softprompt.core.clip.hub import COOP_NAMES, QUICK, entries_of, open_clip_name
from softprompt.core.clip.weight_files import WeightFile

KEY = "MODEL.BACKBONE.QUICK_GELU"


class Choice(NamedTuple):
    """An activation, and what a reader of the numbers must know about it, "" if nothing."""

    quick: bool
    caution: str = ""


def choose(name: str, given: str, entry: dict, file: WeightFile | None) -> Choice:
    """Return the activation of a backbone's towers.

    Args:
        name: of the architecture.
        given: ``MODEL.BACKBONE.QUICK_GELU``: "on", "off", or "auto" for what the weights say, or
            else what goes with the architecture's name.
        entry: open_clip's entry of the weights, {} if they are none of its own.
        file: the weights of the user's own file, None without one.
    """
    known = entry.get("quick_gelu", False) if entry else file.quick_gelu if file else None
    if given != "auto":
        quick = given == "on"
        if known in (None, quick):
            return Choice(quick)
        return Choice(
            quick, f"{KEY} is {given}, but these weights were trained with it {_word(known)}"
        )
    if known is not None:
        return Choice(known)
    quick = name in COOP_NAMES or QUICK in name
    if file is None or quick_gelu_of_all(name) == quick:
        return Choice(quick)
    return Choice(
        quick,
        f"{file.place} does not say which activation its weights were trained with; "
        f"{label(quick)} is assumed, after the name {name}, and would cost points of accuracy if "
        f"wrong: set {KEY} on (weights of OpenAI, MetaCLIP and DFN) or off (most others)",
    )


def quick_gelu_of_all(name: str) -> bool | None:
    """Return whether all of open_clip's weights of an architecture have QuickGELU, None if some."""
    own_name = open_clip_name(name).removesuffix(QUICK)
    entries = entries_of(own_name) + entries_of(own_name + QUICK)
    found = {entry.get("quick_gelu", False) for entry in entries}
    return found.pop() if len(found) == 1 else None


def activation_of(model: nn.Module) -> str:
    """Return "QuickGELU" or "GELU", whichever the model's blocks have."""
    from open_clip.transformer import QuickGELU

    return label(any(isinstance(module, QuickGELU) for module in model.modules()))


def label(quick: bool) -> str:
    return "QuickGELU" if quick else "GELU"


def _word(quick: bool) -> str:
    return "on" if quick else "off"
