"""Every configuration key that belongs to no registered class: one row each, and what it takes.

The options of registered classes are the keyword-only arguments of these; see ``options.py``.
"""

from dataclasses import dataclass

from yacs.config import CfgNode

from softprompt.core.base.ranges import Range
from softprompt.core.config.values import Value


@dataclass(frozen=True)
class Key:
    """A configuration key: its default, meaning and allowed values.

    Attributes:
        choices: the values of a key, or of the entries of a tuple; empty: any.
        numbers: the range of a number, or of the entries of a tuple of numbers; None: any.
        lengths: how many entries a tuple has; empty: any number.
        ascending: the entries of a tuple must not fall.
        hashed: part of the config hash; False: a path or plot, without effect on the results.
        compared: a hyperparameter, by which TensorBoard's HPARAMS tab compares runs.
        later: came after version 0.1. At its default it is left out of saved settings and of the
            config hash, so that both are those of a run made before.
    """

    name: str
    default: Value
    meaning: str
    choices: tuple[str, ...] = ()
    numbers: Range | None = None
    lengths: tuple[int, ...] = ()
    ascending: bool = False
    hashed: bool = True
    compared: bool = True
    later: bool = False

    @property
    def type(self) -> str:
        """The name of the default's type, which every value is converted to."""
        return type(self.default).__name__

    @property
    def takes(self) -> str:
        """What the values are beyond their type, in words; "": any."""
        if self.choices:
            return ", ".join(choice or '""' for choice in self.choices)
        words = str(self.numbers or "")
        if self.lengths:
            counts = " or ".join(str(length) if length else "none" for length in self.lengths)
            order = ", the smaller first" if self.ascending else ""
            return f"{counts} numbers{', each ' * bool(words)}{words}{order}"
        if self.numbers and self.numbers.otherwise:
            words += f", or {self.numbers.otherwise[0]}"
        return words


SIZE = Range(1, 1_000_000)  # of a batch; far more overflow a tensor's count of numbers
KEYS = (
    Key("OUTPUT_DIR", "", "folder of the run; empty: a new one below output/", hashed=False),
    Key("SEED", 1, "seed of every random stream below that has none of its own", numbers=Range(0)),
    Key("USE_CUDA", True, "use the GPU if there is one", compared=False),
    Key(
        "PLUGINS",
        (),
        "dotted modules or .py files that register classes of your own",
        compared=False,
    ),
    # Images
    Key("INPUT.SEED", -1, "seed of the augmentation; -1: SEED", numbers=Range(-1)),
    Key(
        "INPUT.SIZE",
        (),
        "(height, width); empty: the backbone's own",
        numbers=Range(1),
        lengths=(0, 2),
    ),
    Key(
        "INPUT.INTERPOLATION",
        "",
        "interpolation for resizing; empty: the backbone's own",
        choices=("", "bicubic", "bilinear", "nearest"),
    ),
    Key(
        "INPUT.TRANSFORMS",
        ("random_resized_crop", "random_flip", "normalize"),
        "augmentation of the training images; normalize applies to the test images, too",
        choices=("random_resized_crop", "random_flip", "normalize"),
    ),
    Key(
        "INPUT.RRCROP_SCALE",
        (0.08, 1.0),
        "share of the picture's area that a random crop keeps",
        numbers=Range(above=0, most=1),
        lengths=(2,),
        ascending=True,
    ),
    Key(
        "INPUT.PIXEL_MEAN",
        (),
        "means for normalize; empty: the backbone's own",
        numbers=Range(0, 1),
        lengths=(0, 3),
    ),
    Key(
        "INPUT.PIXEL_STD",
        (),
        "deviations for normalize; empty: the backbone's own",
        numbers=Range(1e-6, 1),
        lengths=(0, 3),
    ),
    Key(
        "INPUT.BACKEND",
        "pil",
        "decodes JPEG files and resizes: pil, as in CLIP and the official code, or torchvision, "
        "which is faster and whose pixels differ by at most one level of 255",
        choices=("pil", "torchvision"),
    ),
    Key(
        "INPUT.VIEWS",
        0,
        "augmented views of each training picture, with which the epochs take turns; 0: another "
        "one each epoch. Their features without prompts are computed once, but few views augment "
        "less",
        numbers=Range(0),
    ),
    Key(
        "INPUT.VALUE_RANGE",
        (),
        "(black, white): the values of a picture with more than 8 bits a pixel that become black "
        "and white; empty: (0, 65535) for whole numbers of 16 bits, and others are refused",
        numbers=Range(),
        lengths=(0, 2),
        compared=False,
        later=True,
    ),
    Key(
        "INPUT.EXIF_ORIENTATION",
        False,
        "turn a picture as its EXIF orientation says; the official code does not",
        compared=False,
        later=True,
    ),
    # Dataset
    Key("DATASET.ROOT", "data", "folder that holds the datasets' folders", hashed=False),
    Key("DATASET.NAME", "", "a registered dataset"),
    Key(
        "DATASET.NAMES_FILE",
        "",
        "a CSV or TSV file with two columns, a class as the dataset calls it (in folder, the "
        "folder's name) and the class name to use instead; empty: the dataset's own names",
        compared=False,
        later=True,
    ),
    Key("DATASET.SEED", -1, "seed of the few-shot draw; -1: SEED", numbers=Range(-1)),
    Key(
        "DATASET.NUM_SHOTS",
        -1,
        "training images per class; -1: all",
        numbers=Range(1, otherwise=(-1, "all")),
    ),
    Key(
        "DATASET.SUBSAMPLE_CLASSES",
        "all",
        "classes to train on: the first half is base",
        choices=("all", "base", "new"),
    ),
    Key(
        "DATALOADER.SEED",
        -1,
        "seed of the order of the training images; -1: SEED",
        numbers=Range(-1),
    ),
    Key(
        "DATALOADER.NUM_WORKERS",
        0,
        "processes that read images; 0: the main one does",
        numbers=Range(0),
        compared=False,
    ),
    Key(
        "DATALOADER.MEMORY",
        1.0,
        "gigabytes of decoded training pictures kept in memory",
        numbers=Range(0, unbounded=True),
        compared=False,
    ),
    Key("DATALOADER.TRAIN_X.BATCH_SIZE", 32, "training images per step", numbers=SIZE),
    Key("DATALOADER.TEST.BATCH_SIZE", 100, "test images encoded at once", numbers=SIZE),
    # CLIP
    Key("MODEL.BACKBONE.NAME", "ViT-B/16", 'name in CoOp or open_clip, or "tiny"'),
    Key(
        "MODEL.BACKBONE.PRETRAINED",
        "openai",
        "open_clip's tag, a file of weights, or empty for random weights",
    ),
    Key(
        "MODEL.BACKBONE.QUICK_GELU",
        "auto",
        "the towers' activation: on, OpenAI's approximation of GELU, or off, GELU itself; auto: "
        "as the tag or the file of the weights says, or else after the architecture's name",
        choices=("auto", "on", "off"),
        later=True,
    ),
    Key(
        "MODEL.PRECISION",
        "fp32",
        "precision inside CLIP's towers; prompts are always fp32",
        choices=("fp32", "bf16", "fp16"),
    ),
    Key(
        "MODEL.MEMORY_LIMIT",
        4.0,
        "gigabytes of activations that each tower may keep for gradients; beyond, it encodes in "
        "chunks and recomputes them",
        numbers=Range(0.1, unbounded=True),
        compared=False,
    ),
    Key(
        "MODEL.PACKED",
        "auto",
        "multiply by frozen weights with oneDNN, on the CPU in fp32; auto: where that is known to "
        "be faster. Weights that meet few tokens at once are copied, with their transposes",
        choices=("auto", "on", "off"),
    ),
    Key(
        "CACHE.DIR",
        "",
        "folder of features that any run may use, above all of test pictures and hand-written "
        "sentences; empty: none. A feature is found only where all that it depends on is the "
        "same. A run on several processes does without",
        hashed=False,
    ),
    Key(
        "CACHE.LIMIT",
        10.0,
        "gigabytes that CACHE.DIR may take; the least recently used go",
        numbers=Range(0.01, unbounded=True),
        hashed=False,
    ),
    # Optimization
    Key(
        "OPTIM.NAME",
        "sgd",
        "optimizer of the prompts; adam has the decay in the gradient, adamw apart from it",
        choices=("sgd", "adam", "adamw"),
    ),
    Key("OPTIM.LR", 0.002, "learning rate", numbers=Range(above=0)),
    Key("OPTIM.MOMENTUM", 0.9, "momentum of SGD", numbers=Range(0, below=1)),
    Key("OPTIM.WEIGHT_DECAY", 5e-4, "weight decay", numbers=Range(0)),
    Key("OPTIM.SGD_NESTEROV", False, "use Nesterov momentum"),
    Key("OPTIM.ADAM_BETA1", 0.9, "first beta of Adam and AdamW", numbers=Range(0, below=1)),
    Key("OPTIM.ADAM_BETA2", 0.999, "second beta of Adam and AdamW", numbers=Range(0, below=1)),
    Key(
        "OPTIM.LR_SCHEDULER",
        "cosine",
        "schedule of the learning rate, one value per epoch; cosine_squared is that of KgCoOp's "
        "published numbers",
        choices=("cosine", "cosine_squared", "constant"),
    ),
    Key("OPTIM.MAX_EPOCH", 10, "epochs of training", numbers=Range(1)),
    Key(
        "OPTIM.WARMUP_EPOCH",
        1,
        "epochs at WARMUP_CONS_LR before the schedule starts",
        numbers=Range(0),
    ),
    Key("OPTIM.WARMUP_CONS_LR", 1e-5, "learning rate of the warm-up", numbers=Range(0)),
    Key(
        "TRAIN.INIT_FROM",
        "",
        "start from the prompts of this run, a folder or a prompts.safetensors; empty: the "
        "learner's own start",
        compared=False,
        later=True,
    ),
    Key(
        "TRAIN.PRINT_FREQ",
        10,
        "batches between two progress lines; 0: one for each",
        numbers=Range(0),
        compared=False,
    ),
    Key(
        "TRAIN.CHECKPOINT_FREQ",
        0,
        "keep the prompts of every so many epochs; 0: the last",
        numbers=Range(0),
        compared=False,
    ),
    Key(
        "TRAIN.CHECKPOINT_STEPS",
        0,
        "also save a checkpoint to resume from after every so many batches of an epoch; 0: only "
        "after each epoch",
        numbers=Range(0),
        hashed=False,
        compared=False,
    ),
    # Evaluation
    Key(
        "TEST.SPLIT",
        "test",
        "split to evaluate on",
        choices=("train", "val", "test"),
        compared=False,
    ),
    Key(
        "TEST.CLASSES",
        (),
        "class sets to report; generalized: all classes at once, the images of base and of new "
        "ones scored apart; empty: the classes trained on",
        choices=("all", "base", "new", "generalized"),
        compared=False,
    ),
    Key(
        "TEST.MAX_IMAGES",
        0,
        "evaluate on a class-balanced sample of so many images; 0: all",
        numbers=Range(0),
        compared=False,
    ),
    Key(
        "TEST.ZERO_SHOT",
        True,
        "report CLIP without prompts beside the trained ones",
        compared=False,
    ),
    Key(
        "TEST.TENSORBOARD",
        (),
        "figures of each class set to add to TensorBoard",
        choices=("confusion", "embeddings"),
        hashed=False,
        compared=False,
    ),
    Key(
        "TEST.TEMPLATES",
        "coop",
        "hand-written sentence of the dataset for TEST.ZERO_SHOT",
        compared=False,
    ),
    # The method
    Key("PROMPT.NAME", "", "a registered prompt learner"),
    Key("PROMPT.SEED", -1, "seed of the prompts' random start; -1: SEED", numbers=Range(-1)),
    Key("TRAINER.NAME", "", "a registered trainer"),
    Key(
        "TRAINER.SEED",
        -1,
        "seed of the method's random numbers and of its networks' start; -1: SEED",
        numbers=Range(-1),
    ),
)

# Meta-training's own keys are those of its classes; these are paths, or change no number.
NOT_HASHED = (
    *(key.name for key in KEYS if not key.hashed),
    *("META.PAIRS.ROOT", "META.PAIRS.CACHE", "META.OUTER.CHECKPOINT_STEPS"),
)
# Their defaults as YAML holds them, in which a tuple is a list.
LATER = {
    key.name: list(key.default) if isinstance(key.default, tuple) else key.default
    for key in KEYS
    if key.later
}
NOT_COMPARED = tuple(key.name for key in KEYS if not key.compared)


def defaults() -> CfgNode:
    """Return the configuration of the ``KEYS``, each at its default."""
    cfg = CfgNode()
    for key in KEYS:
        node, (*parents, leaf) = cfg, key.name.split(".")
        for parent in parents:
            if parent not in node:
                node[parent] = CfgNode()
            node = node[parent]
        node[leaf] = key.default
    return cfg
