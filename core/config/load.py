"""The configuration: defaults, the layers of YAML files, and ``KEY VALUE`` pairs.

The keyword-only arguments of a registered class are its options, under a node of its own:
``TRAINER.PROMETAR.ADAPT_LR`` is ``ProMetaR(adapt_lr=...)``. Nothing else lists them.
"""

import hashlib
import inspect
from pathlib import Path

import yaml
from yacs.config import CfgNode

from softprompt.core.base.errors import UserError, closest
from softprompt.core.base.plugins import import_built_in, import_plugins
from softprompt.core.base.registry import DATASETS, PROMPT_LEARNERS, TRAINERS, Registry, normalized
from softprompt.core.config.defaults import defaults
from softprompt.core.config.values import check_values, coerce
from softprompt.core.config.yaml_files import Layer, read_layers, tree_of

COMPONENTS: dict[str, Registry] = {
    "DATASET": DATASETS,
    "PROMPT": PROMPT_LEARNERS,
    "TRAINER": TRAINERS,
}
# On this disk, or only drawn; they do not change what a run is.
PLACES = (
    *("OUTPUT_DIR", "DATASET.ROOT", "CACHE.DIR", "CACHE.LIMIT"),
    *("META.PAIRS.ROOT", "META.PAIRS.CACHE", "TEST.TENSORBOARD"),
)


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
    files = [file for file in (config_file, dataset_config_file) if file]
    return configure(defaults(), COMPONENTS, files, flags, pairs)


def configure(
    cfg: CfgNode,
    components: dict[str, Registry],
    files: list[str],
    flags: dict | None = None,
    pairs: list[str] = (),
) -> CfgNode:
    """Return ``cfg`` frozen, with its components' options and what files, flags and pairs set.

    Args:
        cfg: the options that belong to no component, with a node for each component.
        components: the registry of each such node.
    """
    layers = [layer for file in files for layer in read_layers(file)]
    given = tree_of({**(flags or {}), **paired(pairs)})
    layers.append(Layer("the command line", given, {}))

    import_built_in()
    for layer in layers:
        plugins = coerce(layer.settings.get("PLUGINS", ()), (), "PLUGINS", layer.file)
        import_plugins(plugins, Path(layer.file).parent if Path(layer.file).is_file() else None)

    for component, registry in components.items():
        for name in registry.names():
            options = {key.upper(): value for key, value in options_of(registry[name]).items()}
            cfg[component][node_name(name)] = CfgNode(options)
    for layer in _holding(layers):
        _merge(cfg, layer.settings, "", layer.file)
    for component, registry in components.items():
        if not cfg[component].NAME:
            raise UserError(
                f"{component}.NAME is not set; it names a {registry.kind}: "
                f"{', '.join(registry.names())}"
            )
        _ = registry[cfg[component].NAME]  # says so if there is none of that name
    check_values(cfg)
    _drop_idle_nodes(cfg, components)
    cfg.freeze()
    return cfg


def paired(pairs) -> dict[str, str]:
    """Return ``[KEY, VALUE, KEY, VALUE ...]`` as a mapping; ``UserError`` if one is left over."""
    pairs = list(pairs)
    if len(pairs) % 2:
        raise UserError(
            f"the options {' '.join(pairs)!r} are not KEY VALUE pairs: {pairs[-1]!r} is left over"
        )
    return dict(zip(pairs[::2], pairs[1::2], strict=True))


def _holding(layers: list[Layer]) -> list[Layer]:
    """Return the layers whose conditions the dataset and the shots of the others fulfil."""
    chosen: dict = {"NAME": "", "NUM_SHOTS": -1}
    for layer in layers:
        node = layer.settings.get("DATASET")
        if not layer.when and isinstance(node, dict):
            chosen |= {key: node[key] for key in chosen.keys() & node.keys()}
    shots = coerce(chosen["NUM_SHOTS"], -1, "DATASET.NUM_SHOTS", "the configuration")
    found = {"DATASET.NAME": normalized(str(chosen["NAME"])), "DATASET.NUM_SHOTS": shots}
    for layer in layers:
        unknown = set(layer.when.get("DATASET.NAME", ())).difference(DATASETS.names())
        for name in sorted(map(str, unknown)):
            known = closest(name, DATASETS.names())
            raise UserError(f"{layer.file}: there is no dataset {name!r}{known}")
    return [
        layer for layer in layers if all(found[key] in values for key, values in layer.when.items())
    ]


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


def _drop_idle_nodes(cfg: CfgNode, components: dict[str, Registry]) -> None:
    for component, registry in components.items():
        live = node_name(cfg[component].NAME)
        for name in registry.names():
            if node_name(name) != live:
                del cfg[component][node_name(name)]


def settings(cfg: CfgNode) -> dict:
    """What ``cfg`` sets, as plain values, without the places on this disk."""
    plain = yaml.safe_load(cfg.dump())
    for place in PLACES:
        *parents, leaf = place.split(".")
        node = plain
        for parent in parents:
            node = node.get(parent, {})
        node.pop(leaf, None)
    return {key: value for key, value in plain.items() if value != {}}


def config_hash(cfg: CfgNode) -> str:
    """Twelve hex digits that agree for runs with the same settings, wherever they are written."""
    return hashlib.sha256(yaml.safe_dump(settings(cfg)).encode()).hexdigest()[:12]
