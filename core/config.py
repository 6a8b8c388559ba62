"""The configuration: defaults, YAML files over their ``_BASE_``, and ``KEY VALUE`` pairs.

The keyword-only arguments of a registered class are its options, under a node of its own:
``TRAINER.PROMETAR.ADAPT_LR`` is ``ProMetaR(adapt_lr=...)``. Nothing else lists them.
"""

import ast
import hashlib
import inspect
from pathlib import Path

import yaml
from yacs.config import CfgNode

from softprompt.core.errors import UserError, closest
from softprompt.core.plugins import import_built_in, import_plugins
from softprompt.core.registry import DATASETS, PROMPT_LEARNERS, TRAINERS, Registry

COMPONENTS: dict[str, Registry] = {
    "DATASET": DATASETS,
    "PROMPT": PROMPT_LEARNERS,
    "TRAINER": TRAINERS,
}


def defaults() -> CfgNode:
    """The options that belong to no component, each with its meaning."""
    cfg = CfgNode()
    cfg.OUTPUT_DIR = ""  # "": a new folder under output/ for every run
    cfg.SEED = 1
    cfg.USE_CUDA = True  # use the GPU if there is one
    cfg.PLUGINS = ()  # dotted modules or .py files that register classes of your own

    cfg.INPUT = CfgNode()
    cfg.INPUT.SIZE = ()  # (height, width); (): the backbone's own
    cfg.INPUT.INTERPOLATION = "bicubic"  # bicubic, bilinear or nearest
    cfg.INPUT.TRANSFORMS = ("random_resized_crop", "random_flip", "normalize")
    cfg.INPUT.RRCROP_SCALE = (0.08, 1.0)  # share of the picture's area that a random crop keeps
    cfg.INPUT.PIXEL_MEAN = ()  # (): the backbone's own
    cfg.INPUT.PIXEL_STD = ()

    cfg.DATASET = CfgNode()
    cfg.DATASET.ROOT = "data"  # the folder that holds the datasets' folders
    cfg.DATASET.NAME = ""
    cfg.DATASET.NUM_SHOTS = -1  # training images a class; -1: all
    cfg.DATASET.SUBSAMPLE_CLASSES = "all"  # all, base (first half of the labels) or new

    cfg.DATALOADER = CfgNode()
    cfg.DATALOADER.NUM_WORKERS = 0  # processes that read images; 0: the main one does
    cfg.DATALOADER.TRAIN_X = CfgNode()
    cfg.DATALOADER.TRAIN_X.BATCH_SIZE = 32
    cfg.DATALOADER.TEST = CfgNode()
    cfg.DATALOADER.TEST.BATCH_SIZE = 100

    cfg.MODEL = CfgNode()
    cfg.MODEL.BACKBONE = CfgNode()
    cfg.MODEL.BACKBONE.NAME = "ViT-B/16"  # CoOp's or open_clip's name, or "tiny"
    cfg.MODEL.BACKBONE.PRETRAINED = "openai"  # open_clip's tag, a file, or "" for random weights
    cfg.MODEL.PRECISION = "fp32"  # inside CLIP's towers: fp32, bf16 or fp16; prompts stay fp32

    cfg.OPTIM = CfgNode()
    cfg.OPTIM.NAME = "sgd"  # sgd or adamw
    cfg.OPTIM.LR = 0.002
    cfg.OPTIM.MOMENTUM = 0.9
    cfg.OPTIM.WEIGHT_DECAY = 5e-4
    cfg.OPTIM.SGD_NESTEROV = False
    cfg.OPTIM.ADAM_BETA1 = 0.9
    cfg.OPTIM.ADAM_BETA2 = 0.999
    cfg.OPTIM.LR_SCHEDULER = "cosine"  # cosine or constant, one value an epoch
    cfg.OPTIM.MAX_EPOCH = 10
    cfg.OPTIM.WARMUP_EPOCH = 1  # epochs at WARMUP_CONS_LR before the schedule starts
    cfg.OPTIM.WARMUP_CONS_LR = 1e-5

    cfg.TRAIN = CfgNode()
    cfg.TRAIN.PRINT_FREQ = 10  # batches between two progress lines
    cfg.TRAIN.CHECKPOINT_FREQ = 0  # keep the prompts of every so many epochs; 0: only the last

    cfg.TEST = CfgNode()
    cfg.TEST.SPLIT = "test"
    cfg.TEST.CLASSES = ()  # class sets to report, such as (base, new); (): the trained ones
    cfg.TEST.MAX_IMAGES = 0  # evaluate on a class-balanced sample of so many images; 0: all
    cfg.TEST.ZERO_SHOT = True  # report CLIP without prompts beside the trained ones
    cfg.TEST.TEMPLATES = "coop"  # the dataset's hand-written sentence used for that

    cfg.PROMPT = CfgNode({"NAME": ""})
    cfg.TRAINER = CfgNode({"NAME": ""})
    return cfg


def options_of(cls: type) -> dict:
    """Return the options of a class: its keyword-only arguments with their defaults."""
    found = {}
    for parameter in inspect.signature(cls).parameters.values():
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            continue
        if parameter.default is inspect.Parameter.empty:
            raise UserError(
                f"{cls.__module__}.{cls.__qualname__}: the option {parameter.name!r} needs a "
                "default, because every option of a registered class can be left out"
            )
        found[parameter.name] = parameter.default
    return found


def options_from(cfg: CfgNode, component: str) -> dict:
    """The options that ``cfg`` sets for its chosen dataset, prompt learner or trainer."""
    node = cfg[component]
    return {key.lower(): value for key, value in node[node_name(node.NAME)].items()}


def node_name(name: str) -> str:
    return name.strip().upper().replace("-", "_")


def load_config(
    config_file: str = "",
    dataset_config_file: str = "",
    flags: dict | None = None,
    pairs: list[str] = (),
) -> CfgNode:
    """Return the frozen configuration of a run.

    Later sources win: the defaults, ``config_file``, ``dataset_config_file``, the ``flags``
    (dotted key to value) and the ``pairs`` (``[KEY, VALUE, KEY, VALUE ...]``). A method's file
    names a dataset to start with, so the dataset's file comes after it.

    Raises:
        UserError: a file is missing or malformed, or a key or value does not exist.
    """
    sources = [(file, read_yaml(file)) for file in (config_file, dataset_config_file) if file]
    sources.append(("the command line", _tree({**(flags or {}), **_paired(pairs)})))

    import_built_in()
    for file, tree in sources:
        plugins = coerce(tree.get("PLUGINS", ()), (), "PLUGINS", file)
        import_plugins(plugins, Path(file).parent if Path(file).is_file() else None)

    cfg = defaults()
    for component, registry in COMPONENTS.items():
        for name in registry.names():
            options = {key.upper(): value for key, value in options_of(registry[name]).items()}
            cfg[component][node_name(name)] = CfgNode(options)
    for file, tree in sources:
        _merge(cfg, tree, "", file)
    _check(cfg)
    _drop_idle_nodes(cfg)
    cfg.freeze()
    return cfg


def read_yaml(file: str | Path) -> dict:
    """Return what a YAML file says, over the file that its ``_BASE_`` names (relative to it)."""
    file = Path(file).expanduser()
    if not file.is_file():
        raise UserError(f"no such config file: {file}")
    try:
        tree = yaml.load(file.read_text(encoding="utf-8"), _StrictLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is no valid YAML: {' '.join(str(error).split())}") from error
    tree = {} if tree is None else tree
    if not isinstance(tree, dict):
        raise UserError(f"{file} holds {type(tree).__name__}, not KEY: value lines")
    base = tree.pop("_BASE_", None)
    if base is None:
        return tree
    try:
        return _overlaid(read_yaml(file.parent / base), tree)
    except RecursionError:
        raise UserError(f"{file}: its _BASE_ files name one another in a circle") from None


class _StrictLoader(yaml.SafeLoader):
    """YAML, but a key written twice is an error instead of a silent last one."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value} stands twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _overlaid(base: dict, over: dict) -> dict:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _overlaid(merged[key], value) if both else value
    return merged


def _paired(pairs) -> dict[str, str]:
    pairs = list(pairs)
    if len(pairs) % 2:
        raise UserError(
            f"the options {' '.join(pairs)!r} are not KEY VALUE pairs: {pairs[-1]!r} is left over"
        )
    return dict(zip(pairs[::2], pairs[1::2], strict=True))


def _tree(flat: dict) -> dict:
    tree: dict = {}
    for dotted, value in flat.items():
        node = tree
        *parents, leaf = dotted.split(".")
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    return tree


def _merge(node: CfgNode, tree: dict, prefix: str, source: str) -> None:
    for key, value in tree.items():
        dotted = f"{prefix}{key}"
        if key not in node:
            raise UserError(_unknown_key(node, dotted, source))
        if isinstance(node[key], CfgNode):
            if not isinstance(value, dict):
                raise UserError(f"{source}: {dotted} holds options, {value!r} is not one of them")
            _merge(node[key], value, f"{dotted}.", source)
        elif isinstance(value, dict):
            raise UserError(f"{source}: {dotted} is one value, not a node with {', '.join(value)}")
        else:
            node[key] = coerce(value, node[key], dotted, source)


def _unknown_key(node: CfgNode, dotted: str, source: str) -> str:
    parent, _, key = dotted.rpartition(".")
    known = closest(key.upper() if isinstance(key, str) else "", node.keys())
    message = f"{source}: there is no option {dotted}{known}"
    if parent in COMPONENTS:
        kind = COMPONENTS[parent].kind
        return (
            f"{message}; it would hold the options of a {kind} of that name; "
            "one from your own file needs that file in PLUGINS."
        )
    if not known:
        names = ", ".join(node.keys()) or "no options"
        message += f"; {parent or 'the top level'} has {names}"
    return message


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
    "OPTIM.NAME": ("sgd", "adamw"),
    "OPTIM.LR_SCHEDULER": ("cosine", "constant"),
    "INPUT.INTERPOLATION": ("bicubic", "bilinear", "nearest"),
    "TEST.SPLIT": ("train", "val", "test"),
}


def _check(cfg: CfgNode) -> None:
    for component, registry in COMPONENTS.items():
        if not cfg[component].NAME:
            raise UserError(
                f"{component}.NAME is not set; it names a {registry.kind}: "
                f"{', '.join(registry.names())}"
            )
        _ = registry[cfg[component].NAME]
    for dotted, allowed in CHOICES.items():
        section, key = dotted.rsplit(".", 1)
        value = cfg[section][key]
        if value not in allowed:
            raise UserError(
                f"{dotted} is {value!r}{closest(value, allowed)}; it is one of {', '.join(allowed)}"
            )
    for name in cfg.TEST.CLASSES:
        if name not in CHOICES["DATASET.SUBSAMPLE_CLASSES"]:
            raise UserError(f"TEST.CLASSES names {name!r}; it lists all, base or new")
    for key, least in (("MAX_EPOCH", 1), ("WARMUP_EPOCH", 0)):
        if cfg.OPTIM[key] < least:
            raise UserError(f"OPTIM.{key} is {cfg.OPTIM[key]}, but must be at least {least}")
    if cfg.DATALOADER.TRAIN_X.BATCH_SIZE < 1 or cfg.DATALOADER.TEST.BATCH_SIZE < 1:
        raise UserError("DATALOADER.TRAIN_X.BATCH_SIZE and .TEST.BATCH_SIZE must be at least 1")
    if cfg.DATASET.NUM_SHOTS == 0 or cfg.DATASET.NUM_SHOTS < -1:
        raise UserError(
            f"DATASET.NUM_SHOTS is {cfg.DATASET.NUM_SHOTS}; give a number of at least 1, or -1: all"
        )
    if cfg.SEED < 0:
        raise UserError(f"SEED is {cfg.SEED}, but must be at least 0")
    if cfg.TEST.MAX_IMAGES < 0:
        raise UserError(f"TEST.MAX_IMAGES is {cfg.TEST.MAX_IMAGES}; give a number, or 0: all")


def _drop_idle_nodes(cfg: CfgNode) -> None:
    for component, registry in COMPONENTS.items():
        live = node_name(cfg[component].NAME)
        for name in registry.names():
            if node_name(name) != live:
                del cfg[component][node_name(name)]


def settings(cfg: CfgNode) -> dict:
    """What ``cfg`` sets, as plain values, without the places on this disk."""
    plain = yaml.safe_load(cfg.dump())
    del plain["OUTPUT_DIR"], plain["DATASET"]["ROOT"]
    return plain


def config_hash(cfg: CfgNode) -> str:
    """Twelve hex digits that agree for runs with the same settings, wherever they are written."""
    return hashlib.sha256(yaml.safe_dump(settings(cfg)).encode()).hexdigest()[:12]
