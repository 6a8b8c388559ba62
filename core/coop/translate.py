"""Translate the official values of a method to our learner, trainer, options and optimizer."""

from dataclasses import dataclass, field
from typing import Any

from softprompt.core.base.errors import UserError
from softprompt.core.base.registry import DATASETS
from softprompt.core.coop.defaults import PHRASE, ZERO_SHOT
from softprompt.core.engine.optim import Optim
from softprompt.core.prompts.templates import PHOTO


@dataclass
class Official:
    """One official setting: our learner and trainer with their options, and the optimizer."""

    method: str
    prompt: str
    prompt_options: dict[str, Any]
    trainer: str = "erm"
    trainer_options: dict[str, Any] = field(default_factory=dict)
    optim: Optim = field(default_factory=Optim)


def translated(
    method: str, v: dict[str, Any], dataset: str, text_layers: int, image_layers: int
) -> Official:
    """Return our setting for a method with all its official values.

    Args:
        v: the last part of each official key to its value, as in ``DEFAULTS``.
        dataset: our name of the dataset, or "".
        text_layers, image_layers: blocks of the towers, beyond which the official code ignores
            a prompt depth.

    Raises:
        UserError: with these values the official code does something without counterpart here.
    """
    optim = Optim(
        name=v["NAME"],
        schedule=v["LR_SCHEDULER"],
        betas=(float(v["ADAM_BETA1"]), float(v["ADAM_BETA2"])),
        lr=float(v["LR"]),
        momentum=float(v["MOMENTUM"]),
        weight_decay=float(v["WEIGHT_DECAY"]),
        nesterov=bool(v["SGD_NESTEROV"]),
        epochs=int(v["MAX_EPOCH"]),
        warmup_epochs=max(0, int(v["WARMUP_EPOCH"])),
        warmup_lr=float(v["WARMUP_CONS_LR"]),
    )
    if method in ZERO_SHOT:
        return Official(method, "zeroshot", {}, optim=optim)
    phrase = _phrase(method, v["CTX_INIT"], dataset)
    if method in ("CoOp", "CoCoOp", "ProGrad", "KgCoOp"):
        # ProGrad's code base, which says True, puts the sentence at the end of N_CTX vectors.
        words_set_length = phrase and (method == "KgCoOp" or v["CTX_INIT"] is not True)
        prompt_options: dict[str, Any] = {
            "n_ctx": len(phrase.split(" ")) if words_set_length else int(v["N_CTX"]),
            "ctx_init": phrase,
        }
        if method != "CoCoOp":
            prompt_options["csc"] = bool(v["CSC"]) and not phrase
            # KgCoOp has the key, but always puts the class name last.
            position = "end" if method == "KgCoOp" else v["CLASS_TOKEN_POSITION"]
            prompt_options["class_token_position"] = position
        prompt = "cocoop" if method == "CoCoOp" else "coop"
    elif method == "MaPLe":
        n, depth = int(v["N_CTX"]), int(v["PROMPT_DEPTH"])
        prompt, prompt_options = "maple", {"n_ctx": n, "prompt_depth": depth}
        prompt_options["ctx_init"] = _long_enough(phrase, n)
    elif method == "VPT":
        prompt = "vpt"
        prompt_options = {
            "n_ctx_vision": int(v["N_CTX_VISION"]),
            "prompt_depth_vision": min(int(v["PROMPT_DEPTH_VISION"]), image_layers),
            "ctx_init": PHRASE,  # the official code has the key, but never reads it
        }
    else:  # IVLP, PromptSRC, ProMetaR
        n = int(v["N_CTX_TEXT"])
        prompt = "ivlp"
        prompt_options = {
            "n_ctx_text": n,
            "n_ctx_vision": int(v["N_CTX_VISION"]),
            "prompt_depth_text": min(int(v["PROMPT_DEPTH_TEXT"]), text_layers),
            "prompt_depth_vision": min(int(v["PROMPT_DEPTH_VISION"]), image_layers),
            "ctx_init": _long_enough(phrase, n),
        }
    trainer, trainer_options = _trainer(method, v)
    return Official(method, prompt, prompt_options, trainer, trainer_options, optim)


def _trainer(method: str, v: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return our trainer and its options."""
    if method == "ProGrad":
        return "prograd", {
            "strength": float(v["LOSS.LAMBDA"]),
            "temperature": float(v["LOSS.T"]),
        }
    if method == "KgCoOp":
        return "kgcoop", {"weight": float(v["W"])}
    if method == "PromptSRC":
        return "promptsrc", {
            "text_weight": float(v["TEXT_LOSS_WEIGHT"]),
            "image_weight": float(v["IMAGE_LOSS_WEIGHT"]),
            "gpa_mean": float(v["GPA_MEAN"]),
            "gpa_std": float(v["GPA_STD"]),
        }
    if method == "ProMetaR":
        warming = int(v["VNET_WARMUP_EPOCH"]) > 0
        rate = float(v["VNET_WARMUP_CONS_LR"] if warming else v["VNET_LR"])
        return "prometar", {
            "adapt_lr": float(v["ADAPT_LR"]),
            "lr_ratio": float(v["LR_RATIO"]),
            "fast_adaptation": bool(v["FAST_ADAPTATION"]),
            "mixup_alpha": float(v["MIXUP_ALPHA"]),
            "mixup_beta": float(v["MIXUP_BETA"]),
            # Its schedule is never stepped, so the first epoch's rate remains.
            "gate_lr": float(v["VNET_LR"]),
            "gate_warmup_lr": rate,
        }
    return "erm", {}


def _phrase(method: str, given: str | bool, dataset: str) -> str:
    """Return the words at whose embeddings the context starts, "" for none."""
    if not given:
        return ""
    if method == "KgCoOp":  # they are part of its code, and of ProGrad's
        return PHRASE
    if given is not True:
        return given.replace("_", " ")
    if dataset not in DATASETS:
        raise UserError(
            f"with CTX_INIT True the context of {method} starts at the dataset's own sentence, "
            f"but there is no dataset {dataset!r} here; give DATASET.NAME"
        )
    templates = DATASETS[dataset].templates
    sentence = templates.get("prograd") or templates.get("coop", PHOTO)
    return sentence.replace(" {}.", "").replace("{}", "").strip(" .")


def _long_enough(phrase: str, n: int) -> str:
    """Return the phrase for ``n`` vectors; the official code uses it for at most four."""
    if n > 4:
        return ""
    if phrase and len(phrase.split()) < n:
        raise UserError(
            f"CTX_INIT {phrase!r} has fewer words than there are context vectors, {n}: the "
            "official code then writes the vectors over the class name, which has no counterpart"
        )
    return phrase
