"""Translate official YAML files and options to keys of our configuration."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from softprompt.core.base.errors import UserError, closest
from softprompt.core.base.registry import DATASETS
from softprompt.core.config.options import node_name
from softprompt.core.config.yaml_files import flat_of, read_yaml
from softprompt.core.coop.defaults import (
    BATCH_SIZE,
    BATCH_SIZES,
    DEFAULTS,
    FIXED,
    PASSED,
    SHARED,
    SHOTS,
    ZERO_SHOT,
)
from softprompt.core.coop.settings import literal, node_of
from softprompt.core.coop.translate import Official

# Keys with the same meaning here.
SAME = (
    "DATALOADER.NUM_WORKERS",
    "DATALOADER.TEST.BATCH_SIZE",
    "DATALOADER.TRAIN_X.BATCH_SIZE",
    "DATASET.NUM_SHOTS",
    "DATASET.ROOT",
    "DATASET.SUBSAMPLE_CLASSES",
    "INPUT.INTERPOLATION",
    "INPUT.PIXEL_MEAN",
    "INPUT.PIXEL_STD",
    "INPUT.RRCROP_SCALE",
    "INPUT.SIZE",
    "MODEL.BACKBONE.NAME",
    "SEED",
    "TEST.SPLIT",
    "TRAIN.CHECKPOINT_FREQ",
    "TRAIN.PRINT_FREQ",
    "USE_CUDA",
)
OF_METHODS = ("OPTIM.", "OPTIM_VNET.", "TRAINER.", "LOSS.")  # read by settings.py
TRANSFORMS = ("random_resized_crop", "random_flip", "normalize")
# Keys without a counterpart here, with the value at which none is needed.
HARMLESS = {
    "DATALOADER.K_TRANSFORMS": 1,
    "DATALOADER.RETURN_IMG0": False,
    "DATALOADER.TEST.SAMPLER": "SequentialSampler",
    "DATALOADER.TRAIN_X.SAMPLER": "RandomSampler",
    "INPUT.NO_TRANSFORM": False,
    "MODEL.INIT_WEIGHTS": "",
    "OPTIM.STAGED_LR": False,
    "TEST.COMPUTE_CMAT": False,
    "TEST.FINAL_MODEL": "last_step",
    "TEST.NO_TEST": False,
    "TRAIN.COUNT_ITER": "train_x",
}
# Keys that the official code of these methods never reads, or only for settings of others.
UNREAD = re.compile(
    r"VERSION|VERBOSE|RESUME|OUTPUT_DIR|TRAINER\.(NAME|COOP\.ALPHA)|LOSS\.ALPHA"
    r"|TEST\.(EVALUATOR|PER_CLASS_RESULT)|MODEL\.(HEAD\..*|BACKBONE\.PRETRAINED)"
    r"|DATALOADER\.(TRAIN_U\..*|TRAIN_X\.N_(DOMAIN|INS))"
    r"|DATASET\.(SOURCE_DOMAINS|TARGET_DOMAINS|NUM_LABELED|VAL_PERCENT|ALL_AS_UNLABELED"
    r"|STL10_FOLD|CIFAR_C_\w+)"
    r"|INPUT\.(CROP_PADDING|CUTOUT_\w+|GN_\w+|RANDAUGMENT_\w+|COLORJITTER_\w+|RGS_P|GB_\w+)"
    r"|OPTIM_VNET\.(ADAM_BETA[12]|STEPSIZE)"
    r"|OPTIM(_VNET)?\.(RMSPROP_ALPHA|NEW_LAYERS|BASE_LR_MULT|GAMMA|WARMUP_MIN_LR)"
)


def read_official(file: str) -> dict[str, Any]:
    """Return the settings of an official YAML file by dotted key, texts parsed as by yacs."""
    return {key: literal(value) for key, value in flat_of(read_yaml(Path(file))).items()}


def is_of_method(key: str) -> bool:
    """Return whether ``settings.from_keys`` reads this key."""
    return key.startswith(OF_METHODS) and not (
        key in HARMLESS or UNREAD.fullmatch(key) or key.endswith((".PREC", ".STAGED_LR"))
    )


def check_known(method: str, keys: Iterable[str]) -> None:
    """Raise ``UserError`` for the first key that no official command line of the method has."""
    own = f"TRAINER.{node_of(method)}."
    known = {*SAME, *HARMLESS, *FIXED, *DEFAULTS[method], "DATASET.NAME", "INPUT.TRANSFORMS"}
    known |= {own + name for name in (*DEFAULTS[method], "PREC")}
    known |= {f"OPTIM.{name}" for name in (*SHARED, "LR")}
    for key in keys:
        others = key.startswith(("TRAINER.", "OPTIM_VNET.")) and not key.startswith(own)
        if not (key in known or UNREAD.fullmatch(key) or others):
            raise UserError(f"{method} has no official option {key}{closest(key, known)}")


def our_keys(setting: Official, keys: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return our configuration by dotted key, and a line for each official key left out.

    Args:
        setting: the method's own keys, translated by ``settings.from_keys``.
        keys: all official keys with their values.
    """
    sizes = {"DATALOADER.TRAIN_X.BATCH_SIZE": BATCH_SIZES.get(setting.method, BATCH_SIZE)}
    ours, lines = sizes | _of_setting(setting), []
    for key, value in keys.items():
        if key == "DATASET.NAME":
            ours[key] = our_dataset(str(value))
        elif key == "INPUT.TRANSFORMS":
            names = (value,) if isinstance(value, str) else tuple(value)
            ours[key] = tuple(name for name in names if name in TRANSFORMS)
            lines += [f"INPUT.TRANSFORMS: there is no {n!r}" for n in names if n not in TRANSFORMS]
        elif key == "MODEL.BACKBONE.PRETRAINED" and isinstance(value, str):
            ours[key] = value  # a bool in the official code, which always loads OpenAI's weights
        elif key == "SEED" and isinstance(value, int) and value < 0:
            lines.append(f"SEED {value}: the official run drew its seed, which is not known")
        elif key in SAME:
            ours[key] = value
        elif key == f"TRAINER.{node_of(setting.method)}.PREC" and value != "fp32":
            lines.append(
                f"{key} {value}: prompts are fp32 here; MODEL.PRECISION is that of CLIP's towers"
            )
        elif key in HARMLESS and value != HARMLESS[key]:
            lines.append(f"the official {key} {value!r} has no counterpart here")
        elif not (key in HARMLESS or UNREAD.fullmatch(key) or key.startswith(OF_METHODS)):
            lines.append(f"the official key {key} has no counterpart here")
    return ours, lines


def lacking(method: str, keys: dict[str, Any]) -> list[str]:
    """Return a line if the keys lack what all official scripts of the method pass."""
    passed = PASSED.get(method, {}) | ({} if method in ZERO_SHOT else SHOTS)
    missing = [f"{key} ({value})" for key, value in passed.items() if key not in keys]
    if not missing:
        return []
    return [
        f"the official scripts of {method} also pass {' and '.join(missing)}, which no YAML file "
        "holds; without them the code's own defaults are taken"
    ]


def _of_setting(setting: Official) -> dict[str, Any]:
    """Return the keys of learner, trainer and optimizer."""
    optim = setting.optim
    ours: dict[str, Any] = {"PROMPT.NAME": setting.prompt, "TRAINER.NAME": setting.trainer}
    if setting.method in ZERO_SHOT:
        return ours | {"TEST.TEMPLATES": ZERO_SHOT[setting.method]}
    for node, name, options in (
        ("PROMPT", setting.prompt, setting.prompt_options),
        ("TRAINER", setting.trainer, setting.trainer_options),
    ):
        for option, value in options.items():
            ours[f"{node}.{node_name(name)}.{option.upper()}"] = value
    return ours | {
        "OPTIM.NAME": optim.name,
        "OPTIM.LR": optim.lr,
        "OPTIM.MOMENTUM": optim.momentum,
        "OPTIM.WEIGHT_DECAY": optim.weight_decay,
        "OPTIM.SGD_NESTEROV": optim.nesterov,
        "OPTIM.ADAM_BETA1": optim.betas[0],
        "OPTIM.ADAM_BETA2": optim.betas[1],
        "OPTIM.LR_SCHEDULER": optim.schedule,
        "OPTIM.MAX_EPOCH": optim.epochs,
        "OPTIM.WARMUP_EPOCH": optim.warmup_epochs,
        "OPTIM.WARMUP_CONS_LR": optim.warmup_lr,
    }


def our_dataset(name: str) -> str:
    """Return our name of an official dataset such as ``EuroSAT``, or ``name`` if it is none."""
    classes = {DATASETS[own].__name__.lower(): own for own in DATASETS.names()}
    return classes.get(name.lower(), name)
