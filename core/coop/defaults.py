"""The values of the official YAML files, and which of their keys have a counterpart here."""

import re
from typing import Any

PHRASE = "a photo of a"

# The values of each official YAML except those that all share (SGD, cosine, one warm-up epoch).
# Values that only the file's name tells, as "4ctx_language_only", are read by _from_file_name.
DEFAULTS: dict[str, dict[str, Any]] = {
    "CoOp": {"N_CTX": 16, "CSC": False, "CTX_INIT": "", "CLASS_TOKEN_POSITION": "end", "LR": 0.002},
    "CoCoOp": {"N_CTX": 16, "CTX_INIT": "", "LR": 0.002},
    "ProGrad": {
        "N_CTX": 16,
        "CSC": False,
        "CTX_INIT": True,
        "CLASS_TOKEN_POSITION": "end",
        "LR": 0.002,
        "LOSS.LAMBDA": 1.0,
        "LOSS.T": 1.0,
    },
    "KgCoOp": {
        "N_CTX": 16,
        "CSC": False,
        "CTX_INIT": True,
        "CLASS_TOKEN_POSITION": "end",
        "LR": 0.002,
        "W": 1.0,
    },
    "VPT": {"N_CTX_VISION": 8, "PROMPT_DEPTH_VISION": 12, "CTX_INIT": PHRASE, "LR": 0.0025},
    "IVLP": {
        "N_CTX_TEXT": 2,
        "N_CTX_VISION": 2,
        "PROMPT_DEPTH_TEXT": 12,
        "PROMPT_DEPTH_VISION": 12,
        "CTX_INIT": PHRASE,
        "LR": 0.0035,
    },
    "MaPLe": {"N_CTX": 2, "PROMPT_DEPTH": 9, "CTX_INIT": PHRASE, "LR": 0.0035},
    "PromptSRC": {
        "N_CTX_TEXT": 4,
        "N_CTX_VISION": 4,
        "PROMPT_DEPTH_TEXT": 9,
        "PROMPT_DEPTH_VISION": 9,
        "CTX_INIT": PHRASE,
        "TEXT_LOSS_WEIGHT": 25.0,
        "IMAGE_LOSS_WEIGHT": 10.0,
        "GPA_MEAN": 15.0,
        "GPA_STD": 1.0,
        "LR": 0.0025,
    },
    "ProMetaR": {
        "N_CTX_TEXT": 4,
        "N_CTX_VISION": 4,
        "PROMPT_DEPTH_TEXT": 9,
        "PROMPT_DEPTH_VISION": 9,
        "CTX_INIT": PHRASE,
        "ADAPT_LR": 5e-4,
        "LR_RATIO": 5e-4,
        "FAST_ADAPTATION": False,
        "MIXUP_ALPHA": 0.5,
        "MIXUP_BETA": 0.5,
        "DIM_RATE": 8,
        "LR": 0.0025,
        "VNET_LR": 0.00025,
        "VNET_WARMUP_EPOCH": 1,
        "VNET_WARMUP_CONS_LR": 1e-6,
    },
    # Trainers that train nothing; their YAML file is one of CoOp's.
    "ZeroshotCLIP": {"LR": 0.002},
    "ZeroshotCLIP2": {"LR": 0.002},
}
ZERO_SHOT = {"ZeroshotCLIP": "coop", "ZeroshotCLIP2": "select"}  # with the preset of its sentences
# What all official scripts pass, and no YAML file holds: a method's weights, and the shots.
PASSED: dict[str, dict[str, str]] = {
    "KgCoOp": {"TRAINER.COOP.W": "8.0"},
    "ProGrad": {"LOSS.LAMBDA": "1.0, or 0.8 with many shots"},
}
SHOTS = {"DATASET.NUM_SHOTS": "16, or 1 to 16"}
# The node under TRAINER that holds a method's keys, unless it has the method's own name.
NODES = {"ProGrad": "COOP", "KgCoOp": "COOP"}
SHARED: dict[str, Any] = {"MAX_EPOCH": 10, "WARMUP_EPOCH": 1, "WARMUP_CONS_LR": 1e-5}
SHARED |= {"NAME": "sgd", "ADAM_BETA1": 0.9, "ADAM_BETA2": 0.999}
SHARED |= {"LR_SCHEDULER": "cosine", "STEPSIZE": (-1,)}
SHARED |= {"MOMENTUM": 0.9, "WEIGHT_DECAY": 5e-4, "SGD_NESTEROV": False}
OPTIMIZERS = ("sgd", "adam", "adamw")
SCHEDULES = ("cosine", "cosine_squared", "constant")
STEPS = ("single_step", "multi_step")  # constant where they take no step before the last epoch
# Values that all official runs share; others have no counterpart here.
FIXED: dict[str, Any] = {
    "OPTIM_VNET.NAME": "sgd",
    "OPTIM_VNET.LR_SCHEDULER": "cosine",
    "OPTIM.WARMUP_TYPE": "constant",
    "OPTIM.WARMUP_RECOUNT": True,
    "OPTIM.SGD_DAMPNING": 0,
    "LOSS.NAME": "prograd",
    "LOSS.GM": False,
    "TRAINER.PROMETAR.DIM_RATE": 8,
}
# Keys without effect on the method and its numbers in a replay.
IDLE = re.compile(
    r"(DATALOADER|INPUT|DATASET|TRAIN|TEST|MODEL)\..*|VERBOSE|OUTPUT_DIR|SEED|USE_CUDA|VERSION"
    r"|.*\.PREC|RESUME|OPTIM_VNET\.STEPSIZE|OPTIM(_VNET)?\.GAMMA|TRAINER\.NAME"
)
# The batch size that each official YAML sets.
BATCH_SIZES = {"CoOp": 32, "CoCoOp": 1, "ProGrad": 32, "KgCoOp": 128}
BATCH_SIZE = 4  # of the others
# The defaults of Dassl and of the official train.py, for keys that a YAML file lacks.
UNSAID: dict[str, Any] = {
    "INPUT.INTERPOLATION": "bilinear",
    "INPUT.PIXEL_MEAN": (0.485, 0.456, 0.406),
    "INPUT.PIXEL_STD": (0.229, 0.224, 0.225),
    "INPUT.TRANSFORMS": (),
    "DATALOADER.TRAIN_X.BATCH_SIZE": 32,
    "DATALOADER.TEST.BATCH_SIZE": 32,
    "OPTIM.NAME": "adam",
    "OPTIM.LR": 3e-4,
    "OPTIM.LR_SCHEDULER": "single_step",
    "OPTIM.WARMUP_EPOCH": -1,
}
UNSAID_BY: dict[str, dict[str, Any]] = {
    "ProGrad": {"TRAINER.COOP.CTX_INIT": False, "LOSS.NAME": ""},
    "KgCoOp": {"TRAINER.COOP.CTX_INIT": False},
    "VPT": {"TRAINER.VPT.N_CTX_VISION": 2, "TRAINER.VPT.PROMPT_DEPTH_VISION": 1},
    "IVLP": {"TRAINER.IVLP.PROMPT_DEPTH_VISION": 9, "TRAINER.IVLP.PROMPT_DEPTH_TEXT": 9},
    "ProMetaR": {
        "OPTIM_VNET.NAME": "adam",
        "OPTIM_VNET.LR": 3e-4,
        "OPTIM_VNET.LR_SCHEDULER": "single_step",
        "OPTIM_VNET.WARMUP_EPOCH": -1,
    },
}
