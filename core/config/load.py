"""Load a configuration: the defaults, then layers of YAML files, then ``KEY VALUE`` pairs."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from yacs.config import CfgNode

from softprompt.core.base.errors import UserError, closest, shown
from softprompt.core.base.plugins import (
    import_built_in,
    import_plugins,
    plugin_name,
    without_repetitions,
)
from softprompt.core.base.registry import DATASETS, Registry, normalized, place
from softprompt.core.config.check import check_together, check_values
from softprompt.core.config.options import COMPONENTS, node_name, option_keys, option_node
from softprompt.core.config.saved import SavedSettings
from softprompt.core.config.schema import KEYS, LATER, NOT_HASHED, defaults
from softprompt.core.config.values import coerce
from softprompt.core.config.yaml_files import Layer, read_layers, tree_of


def load_config(
    config_file: str = "",
    dataset_config_file: str = "",
    flags: dict[str, Any] | None = None,
    pairs: Sequence[str] = (),
    saved: SavedSettings | None = None,
) -> CfgNode:
    """Return the frozen configuration of a run.

    Later sources win: the defaults, what another run ``saved``, ``config_file``,
    ``dataset_config_file``, the ``flags`` (dotted key to value) and the ``pairs``
    (``[KEY, VALUE, KEY, VALUE ...]``). A method's file names a dataset to start with, so the
    dataset's file comes after it. All but ``saved`` is the user's word: a file that is named here
    has its ``PLUGINS`` imported.

    Raises:
        UserError: a file is missing or malformed, a key or value does not exist, or ``saved`` names
            plugins that the user does not.
    """
    files = [file for file in (config_file, dataset_config_file) if file]
    return configure(defaults(), COMPONENTS, files, flags, pairs, saved)


def configure(
    cfg: CfgNode,
    components: dict[str, Registry],
    files: Sequence[str],
    flags: dict[str, Any] | None = None,
    pairs: Sequence[str] = (),
    saved: SavedSettings | None = None,
) -> CfgNode:
    """Return ``cfg`` frozen, with its components' options and the values of all sources.

    Args:
        cfg: the keys that belong to no component, with a node for each component.
        components: the registry of each such node.
        files, flags, pairs, saved: the sources, as in ``load_config``.

    Raises:
        UserError: a file is missing or malformed, a key or value does not exist, or ``saved`` names
            plugins that the user does not.
    """
    layers = [layer for file in files for layer in read_layers(file)]
    given = tree_of({**(flags or {}), **paired(pairs)})
    layers.append(Layer("the command line", given, {}))

    import_built_in()
    imported: list[str] = []  # of all sources, so that the saved configuration names them all
    named: list[str] | None = None
    for layer in layers:
        if "PLUGINS" in layer.settings:
            plugins = _texts(layer.settings["PLUGINS"], "PLUGINS", layer.place("PLUGINS"))
            imported += import_plugins(plugins, _folder_of(layer))
            named = [*(named or ()), *plugins]
    if saved:
        layer = saved.layer()
        trusted = saved.plugins_to_import(layer, named)
        imported = import_plugins(trusted, _folder_of(layer)) + imported
        layers.insert(0, layer)

    for component, registry in components.items():
        for name in registry.names():
            node = node_name(name)
            if node in cfg[component]:
                raise UserError(
                    f"the {registry.kind} {name!r}, {place(registry[name])}, has the name of the "
                    f"setting {component}.{node}; register it under another one"
                )
            cfg[component][node] = option_node(registry[name])
    for layer in _applicable(layers):
        _merge(cfg, layer.settings, "", layer.place)
    cfg.PLUGINS = without_repetitions(imported)
    for component, registry in components.items():
        if not cfg[component].NAME:
            raise UserError(
                f"{component}.NAME is not set; it names a {registry.kind}: "
                f"{', '.join(registry.names())}"
            )
        _ = registry[cfg[component].NAME]  # raises UserError if nothing has that name
    check_values(cfg, KEYS)
    _drop_unused_nodes(cfg, components)
    for component, registry in components.items():
        name = cfg[component].NAME
        check_values(cfg, option_keys(f"{component}.{node_name(name)}", registry[name]))
    check_together(cfg)
    cfg.freeze()
    return cfg


def paired(pairs: Iterable[str]) -> dict[str, str]:
    """Return ``[KEY, VALUE, KEY, VALUE ...]`` as a mapping; ``UserError`` if one is left over."""
    pairs = list(pairs)
    if len(pairs) % 2:
        raise UserError(
            f"the options {' '.join(pairs)!r} are not KEY VALUE pairs: {pairs[-1]!r} is left over"
        )
    return dict(zip(pairs[::2], pairs[1::2], strict=True))


def settings(cfg: CfgNode) -> dict[str, Any]:
    """Return the configuration as a tree of plain values.

    The keys of ``NOT_HASHED`` are left out, and those of ``LATER`` where they have their default.
    """
    plain = yaml.safe_load(cfg.dump())
    for key in (*NOT_HASHED, *LATER):
        *parents, leaf = key.split(".")
        node = plain
        for parent in parents:
            node = node.get(parent, {})
        if key in NOT_HASHED or node.get(leaf) == LATER[key]:
            node.pop(leaf, None)
    return {key: value for key, value in plain.items() if value != {}}


def config_hash(cfg: CfgNode) -> str:
    """Return twelve hex digits that agree for equal settings, wherever the runs are written."""
    plain = settings(cfg)
    plain |= {"PLUGINS": [plugin_name(plugin) for plugin in cfg.PLUGINS]}
    return hashlib.sha256(yaml.safe_dump(plain).encode()).hexdigest()[:12]


def _folder_of(layer: Layer) -> Path | None:
    """Return the folder of a layer's file, where its plugins may lie; None: it is of no file."""
    return Path(layer.file).parent if Path(layer.file).is_file() else None


def _applicable(layers: list[Layer]) -> list[Layer]:
    """Return the layers whose conditions hold for the dataset and shots of the unconditional."""
    chosen: dict[str, Any] = {"NAME": "", "NUM_SHOTS": -1}
    for layer in layers:
        node = layer.settings.get("DATASET")
        if not layer.when and isinstance(node, dict):
            chosen |= {key: node[key] for key in chosen.keys() & node.keys()}
    shots = coerce(chosen["NUM_SHOTS"], -1, "DATASET.NUM_SHOTS", "the configuration")
    values = {"DATASET.NAME": normalized(str(chosen["NAME"])), "DATASET.NUM_SHOTS": shots}
    for layer in layers:
        unknown = set(layer.when.get("DATASET.NAME", ())).difference(DATASETS.names())
        for name in sorted(map(str, unknown)):
            known = closest(name, DATASETS.names())
            raise UserError(f"{layer.file}: there is no dataset {name!r}{known}")
    return [
        layer
        for layer in layers
        if all(values[key] in allowed for key, allowed in layer.when.items())
    ]


def _texts(value: Any, key: str, source: str) -> tuple[str, ...]:
    """Return a list of texts; ``UserError`` if the value is none."""
    texts = coerce(value, (), key, source)
    if not all(isinstance(text, str) for text in texts):
        raise UserError(f"{source}: {key} is {shown(value)}, but takes a list of texts")
    return texts


def _merge(node: CfgNode, tree: dict[str, Any], prefix: str, place: Callable[[str], str]) -> None:
    """Set the values of a tree; ``place`` returns the file and line of a dotted key."""
    for key, value in tree.items():
        dotted = f"{prefix}{key}"
        source = place(dotted)
        if key not in node:
            raise UserError(_unknown_key(node, dotted, source))
        if isinstance(node[key], CfgNode):
            if not isinstance(value, dict):
                raise UserError(f"{source}: {dotted} holds options, {shown(value)} is none of them")
            _merge(node[key], value, f"{dotted}.", place)
        elif isinstance(value, dict):
            inner = ", ".join(map(str, value)) or "nothing in it"
            raise UserError(f"{source}: {dotted} is one value, not a node with {inner}")
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


def _drop_unused_nodes(cfg: CfgNode, components: dict[str, Registry]) -> None:
    """Remove the options of the classes that are not chosen."""
    for component, registry in components.items():
        chosen = node_name(cfg[component].NAME)
        for name in registry.names():
            if node_name(name) != chosen:
                del cfg[component][node_name(name)]
