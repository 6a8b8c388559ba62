"""The rows and the growth curves of the benchmark: which methods, at which sizes."""

from dataclasses import dataclass

BACKBONES = {"vit_b16": "ViT-B/16", "tiny": "tiny"}  # by the name of their configurations
QUICK = (10,)  # numbers of classes of the quick rows


@dataclass(frozen=True)
class Row:
    """One line of the table for each number of classes."""

    label: str
    method: str  # the folder of its settings in configs/
    kind: str = "step"  # step, fixed (a step on views whose features are known), evaluation, start
    classes: tuple[int, ...] = (10, 100)
    # Gigabytes that the reference needs at many classes: a constant, and a slope per class.
    gigabytes: tuple[float, float] = (3.0, 0.03)


ROWS = {
    "coop": Row("CoOp", "coop"),
    "coop-fixed": Row("CoOp, fixed views", "coop", "fixed"),
    "cocoop": Row("CoCoOp", "cocoop"),
    "maple": Row("MaPLe", "maple"),
    "ivlp": Row("IVLP", "ivlp"),
    "promptsrc": Row("PromptSRC", "promptsrc"),
    "prograd": Row("ProGrad", "prograd"),
    "prometar": Row("ProMetaR", "prometar", classes=(10, 50, 100), gigabytes=(7.0, 0.21)),
    "evaluation": Row("IVLP evaluation", "ivlp", "evaluation", (10, 100, 500), (3.0, 0.004)),
    "cocoop-evaluation": Row("CoCoOp evaluation", "cocoop", "evaluation", (100,)),
    "start": Row("teacher of 60 templates", "prometar", "start", (100,)),
}

BATCH, DEPTH = "DATALOADER.TRAIN_X.BATCH_SIZE", "PROMPT.MAPLE.PROMPT_DEPTH"
CLASSES = (10, 30, 100, 300, 1000)
# By curve: the row, and for each point its x, the number of classes and the changed settings.
CURVES = {
    "CoCoOp, classes": ("cocoop", [(n, n, []) for n in CLASSES]),
    "MaPLe, classes": ("maple", [(n, n, []) for n in CLASSES]),
    "MaPLe, batch": ("maple", [(n, 10, [BATCH, str(n)]) for n in (1, 2, 4, 8, 16)]),
    "MaPLe, depth": ("maple", [(n, 10, [DEPTH, str(n)]) for n in (1, 3, 6, 9, 12)]),
}
