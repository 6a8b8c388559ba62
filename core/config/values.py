"""One configured value: reading it in the type of its default, and checking its range."""

import ast

import yaml
from yacs.config import CfgNode

from softprompt.core.base.errors import UserError, closest


def coerce(value, default, key: str, source: str):
    """Return ``value`` in the type of ``default``; text is read as a literal, an int is a float.

    Raises:
        UserError: the value cannot be one of that type.
    """
    wanted = type(default)
    if wanted is str and isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value)
    read = _literal(value) if isinstance(value, str) else value
    if wanted is bool and isinstance(read, bool):
        return read
    if wanted is int and isinstance(read, int) and not isinstance(read, bool):
        return read
    if wanted is float and isinstance(read, int | float) and not isinstance(read, bool):
        return float(read)
    if wanted in (tuple, list):
        if isinstance(read, str) and read:
            read = (read,)
        if isinstance(read, tuple | list):
            return tuple(read)
    raise UserError(f"{source}: {key} is {value!r}, but takes {_WORDS.get(wanted, wanted)}")


_WORDS = {
    str: "text",
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    tuple: "a list such as (a, b)",
}


def _literal(text: str):
    """Read text as Python, or as YAML, in which round brackets may stand for square ones."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        pass
    if text.startswith("(") and text.endswith(")"):
        text = f"[{text[1:-1]}]"
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


CHOICES = {
    "DATASET.SUBSAMPLE_CLASSES": ("all", "base", "new"),
    "MODEL.PRECISION": ("fp32", "bf16", "fp16"),
    "MODEL.PACKED": ("auto", "on", "off"),
    "OPTIM.NAME": ("sgd", "adamw"),
    "OPTIM.LR_SCHEDULER": ("cosine", "constant"),
    "INPUT.BACKEND": ("pil", "torchvision"),
    "INPUT.INTERPOLATION": ("", "bicubic", "bilinear", "nearest"),
    "TEST.SPLIT": ("train", "val", "test"),
    "TEST.CLASSES": ("all", "base", "new", "generalized"),
}


LEAST = {
    "SEED": 0,
    "DATASET.SEED": -1,
    "DATALOADER.SEED": -1,
    "INPUT.SEED": -1,
    "PROMPT.SEED": -1,
    "TRAINER.SEED": -1,
    "INPUT.VIEWS": 0,
    "CACHE.LIMIT": 0.01,
    "MODEL.MEMORY_LIMIT": 0.1,
    "OPTIM.MAX_EPOCH": 1,
    "OPTIM.WARMUP_EPOCH": 0,
    "DATALOADER.NUM_WORKERS": 0,
    "DATALOADER.MEMORY": 0.0,
    "DATALOADER.TRAIN_X.BATCH_SIZE": 1,
    "DATALOADER.TEST.BATCH_SIZE": 1,
    "TRAIN.CHECKPOINT_FREQ": 0,
    "TEST.MAX_IMAGES": 0,
}


def check_values(cfg: CfgNode) -> None:
    """Raise ``UserError`` for the first value that is none of those its key takes.

    A key that the configuration does not have, as meta-training's, is passed over.
    """
    for key, allowed in _present(cfg, CHOICES):
        value = value_at(cfg, key)
        for one in value if isinstance(value, tuple) else (value,):
            if one not in allowed:
                raise UserError(
                    f"{key} is {one!r}{closest(str(one), allowed)}; it takes {', '.join(allowed)}"
                )
    for key, least in _present(cfg, LEAST):
        if value_at(cfg, key) < least:
            raise UserError(f"{key} is {value_at(cfg, key)}, but must be at least {least}")
    shots = cfg.DATASET.NUM_SHOTS if "DATASET" in cfg else -1
    if shots == 0 or shots < -1:
        raise UserError(f"DATASET.NUM_SHOTS is {shots}; give a number of at least 1, or -1: all")


def _present(cfg: CfgNode, table: dict) -> list[tuple]:
    return [(key, limit) for key, limit in table.items() if key.split(".")[0] in cfg]


def value_at(cfg: CfgNode, key: str):
    """The value of a dotted key."""
    for part in key.split("."):
        cfg = cfg[part]
    return cfg
