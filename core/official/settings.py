"""From an official command line to our learner, trainer, options and optimizer."""

import ast
import re
from dataclasses import dataclass, field

from softprompt.core.errors import UserError
from softprompt.core.official.defaults import DEFAULTS, FIXED, IDLE, NODES, PHRASE, SHARED
from softprompt.core.optim import Optim
from softprompt.core.registry import DATASETS
from softprompt.core.templates import PLAIN


@dataclass
class Official:
    """One official setting: our learner and trainer with their options, and the optimizer."""

    method: str
    prompt: str
    prompt_options: dict
    trainer: str = "erm"
    trainer_options: dict = field(default_factory=dict)
    optim: Optim = field(default_factory=Optim)


def from_command_line(
    arguments: list[str], text_layers: int = 12, image_layers: int = 12
) -> Official:
    """Return our setting for an official command line; a key named twice counts as named last.

    Args:
        text_layers, image_layers: blocks of the towers, beyond which the official code ignores
            a prompt depth.

    Raises:
        UserError: a trainer, key or value has no counterpart here.
    """
    flags, keys = _split(arguments)
    trainer = flags.get("trainer", "")
    method = next((name for name in DEFAULTS if name.lower() == trainer.lower()), "")
    if not method:
        raise UserError(
            f"the official trainer {trainer!r} is not known here; known are {', '.join(DEFAULTS)}"
        )
    values = SHARED | DEFAULTS[method] | _from_file_name(method, flags.get("config-file", ""))
    node = NODES.get(method, method.upper())
    for key, text in keys.items():
        _enter(values, key, _literal(text), node)
    dataset = flags.get("dataset-config-file", "").rsplit("/", 1)[-1].removesuffix(".yaml")
    return _translated(method, values, dataset, text_layers, image_layers)


def _split(arguments: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    flags, keys = {}, {}
    rest = iter(arguments)
    for word in rest:
        value = next(rest, None)
        if value is None:
            raise UserError(f"the official command line ends after {word!r}, which needs a value")
        if word.startswith("--"):
            flags[word[2:]] = value
        else:
            keys[word] = value
    return flags, keys


def _literal(text: str):
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _from_file_name(method: str, file: str) -> dict:
    """What an official YAML's name says of its values, for those that differ from the default."""
    name = file.rsplit("/", 1)[-1]
    found: dict = {}
    if method == "CoOp" and "ctxv1" in name:
        found["CTX_INIT"] = PHRASE
    if method == "CoCoOp":
        length = re.search(r"_c(\d+)_", name)
        found["N_CTX"] = int(length[1]) if length else 16
        found["CTX_INIT"] = PHRASE if "ctxv1" in name else ""
    if "language_only" in name:
        found |= {"N_CTX_TEXT": 4, "N_CTX_VISION": 0, "PROMPT_DEPTH_VISION": 0, "LR": 0.0025}
    elif method == "IVLP" and "4+4ctx" in name:
        found |= {"N_CTX_TEXT": 4, "N_CTX_VISION": 4, "LR": 0.0025}
        found |= {"PROMPT_DEPTH_TEXT": 9, "PROMPT_DEPTH_VISION": 9}
    if "cross_datasets" in name:
        if method == "MaPLe":
            found |= {"PROMPT_DEPTH": 3, "LR": 0.0026}
        else:
            found |= {"PROMPT_DEPTH_TEXT": 3, "PROMPT_DEPTH_VISION": 3}
            found |= {"GPA_MEAN": 6.0, "GPA_STD": 10.0}
    if method == "PromptSRC" and "few_shot" in name:
        found |= {"GPA_MEAN": 30.0, "GPA_STD": 30.0}
    epochs = re.search(r"_ep(\d+)", name)
    if epochs:
        found["MAX_EPOCH"] = int(epochs[1])
    return found


def _enter(values: dict, key: str, value, node: str) -> None:
    short = key.rsplit(".", 1)[-1]
    if key in FIXED or key.replace("OPTIM_VNET.", "OPTIM.") in FIXED:
        wanted = FIXED.get(key, FIXED.get(key.replace("OPTIM_VNET.", "OPTIM.")))
        if value != wanted:
            raise UserError(
                f"the official {key} {value!r} has no counterpart here, only {wanted!r}"
            )
    elif IDLE.fullmatch(key):
        return
    elif key.startswith("OPTIM_VNET.") and f"VNET_{short}" in values:
        values[f"VNET_{short}"] = value
    elif key.startswith("OPTIM_VNET.") and short == "MAX_EPOCH":
        return  # its schedule is never stepped
    elif key.startswith("OPTIM.") and short in values:
        values[short] = value
    elif key in values:  # LOSS.LAMBDA, LOSS.T
        values[key] = value
    elif key.startswith("TRAINER.") and key.split(".")[1] != node:
        return  # another method's
    elif key.startswith("TRAINER.") and short in values:
        values[short] = value
    else:
        raise UserError(f"the official key {key} has no counterpart here")


def _translated(
    method: str, v: dict, dataset: str, text_layers: int, image_layers: int
) -> Official:
    optim = Optim(
        lr=float(v["LR"]),
        momentum=float(v["MOMENTUM"]),
        weight_decay=float(v["WEIGHT_DECAY"]),
        nesterov=bool(v["SGD_NESTEROV"]),
        epochs=int(v["MAX_EPOCH"]),
        warmup_epochs=max(0, int(v["WARMUP_EPOCH"])),
        warmup_lr=float(v["WARMUP_CONS_LR"]),
    )
    phrase = v["CTX_INIT"]
    if phrase is True:  # ProGrad and KgCoOp switch on a phrase that they know by themselves
        phrase = _own_phrase(method, dataset)
    phrase = (phrase or "").replace("_", " ")

    if method in ("CoOp", "CoCoOp", "ProGrad", "KgCoOp"):
        words_set_length = phrase and method != "ProGrad"
        prompt_options = {
            "n_ctx": len(phrase.split(" ")) if words_set_length else int(v["N_CTX"]),
            "ctx_init": phrase,
        }
        if method != "CoCoOp":
            prompt_options["csc"] = bool(v["CSC"]) and not phrase
            prompt_options["class_token_position"] = v["CLASS_TOKEN_POSITION"]
        prompt = "cocoop" if method == "CoCoOp" else "coop"
    elif method == "MaPLe":
        n, depth = int(v["N_CTX"]), int(v["PROMPT_DEPTH"])
        prompt, prompt_options = "maple", {"n_ctx": n, "prompt_depth": depth}
        prompt_options["ctx_init"] = phrase if n <= 4 else ""
    elif method == "VPT":
        prompt = "vpt"
        prompt_options = {
            "n_ctx_vision": int(v["N_CTX_VISION"]),
            "prompt_depth_vision": min(int(v["PROMPT_DEPTH_VISION"]), image_layers),
            "ctx_init": phrase,
        }
    else:  # IVLP, PromptSRC, ProMetaR
        n = int(v["N_CTX_TEXT"])
        prompt = "ivlp"
        prompt_options = {
            "n_ctx_text": n,
            "n_ctx_vision": int(v["N_CTX_VISION"]),
            "prompt_depth_text": min(int(v["PROMPT_DEPTH_TEXT"]), text_layers),
            "prompt_depth_vision": min(int(v["PROMPT_DEPTH_VISION"]), image_layers),
            "ctx_init": phrase if n <= 4 else "",
        }
    trainer, trainer_options = _trainer(method, v)
    return Official(method, prompt, prompt_options, trainer, trainer_options, optim)


def _trainer(method: str, v: dict) -> tuple[str, dict]:
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
            # Its schedule is never stepped, so the first epoch's rate is the rate.
            "gate_lr": rate,
            "gate_warmup_lr": rate,
        }
    return "erm", {}


def _own_phrase(method: str, dataset: str) -> str:
    if method == "KgCoOp":
        return PHRASE
    templates = DATASETS[dataset].templates if dataset in DATASETS else {}
    sentence = templates.get("prograd") or templates.get("coop", PLAIN)
    return sentence.replace(" {}.", "").replace("{}", "").strip(" .")
