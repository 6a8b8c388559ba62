"""Configuration files: YAML with a base file (``_BASE_``) and conditional settings (``_WHEN_``).

``_WHEN_`` is for settings that a paper varies with the dataset or the number of shots::

    OPTIM: {MAX_EPOCH: 200}
    _WHEN_:
      - {DATASET.NUM_SHOTS: [2, 4], SET: {OPTIM.MAX_EPOCH: 100}}
      - {DATASET.NAME: [imagenet], SET: {OPTIM.MAX_EPOCH: 50}}
"""

from pathlib import Path
from typing import Any, NamedTuple

import yaml

from softprompt.core.base.errors import UserError

CONDITIONS = ("DATASET.NAME", "DATASET.NUM_SHOTS")


class Layer(NamedTuple):
    """Some settings of a file, and the conditions under which they apply."""

    file: str
    settings: dict[str, Any]
    when: dict[str, list]  # key: the values for which they apply; empty: always


def read_layers(file: str | Path) -> list[Layer]:
    """Return the layers of a file, later ones overriding earlier ones.

    First come those of its ``_BASE_``, a path relative to it, then its unconditional settings,
    then its ``_WHEN_``.

    Raises:
        UserError: one of the files is missing or malformed.
    """
    file = Path(file).expanduser()
    tree = read_yaml(file)
    base = tree.pop("_BASE_", None)
    cases = tree.pop("_WHEN_", [])
    layers = [Layer(str(file), tree, {}), *_cases(cases, file)]
    if base is None:
        return layers
    try:
        return read_layers(file.parent / base) + layers
    except RecursionError:
        raise UserError(f"{file}: its _BASE_ files name one another in a circle") from None


def read_yaml(file: str | Path) -> dict[str, Any]:
    """Return the content of one YAML file.

    Raises:
        UserError: it is missing, not valid YAML or not a mapping, or repeats a key.
    """
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
    return tree


def tree_of(flat: dict[str, Any]) -> dict[str, Any]:
    """Return ``{"OPTIM": {"LR": 1}}`` for ``{"OPTIM.LR": 1}``."""
    tree: dict[str, Any] = {}
    for dotted, value in flat.items():
        node = tree
        *parents, leaf = dotted.split(".")
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    return tree


def flat_of(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return ``{"OPTIM.LR": 1}`` for ``{"OPTIM": {"LR": 1}}``."""
    flat = {}
    for name, value in tree.items():
        inner = isinstance(value, dict)
        flat |= flat_of(value, f"{prefix}{name}.") if inner else {prefix + name: value}
    return flat


def _cases(cases: Any, file: Path) -> list[Layer]:
    """Return the layers of a file's ``_WHEN_``."""
    layers = []
    for case in cases if isinstance(cases, list) else [cases]:
        when = dict(case) if isinstance(case, dict) else {}
        chosen = when.pop("SET", None)
        fits = when and all(key in CONDITIONS for key in when) and isinstance(chosen, dict)
        if not fits or any(str(key).split(".")[0] == "DATASET" for key in chosen):
            raise UserError(
                f"{file}: _WHEN_ holds {case!r}, but takes a list of conditions on "
                f"{' or '.join(CONDITIONS)} with what to SET then, outside DATASET, such as "
                "{DATASET.NUM_SHOTS: [1, 2], SET: {OPTIM.MAX_EPOCH: 50}}"
            )
        values = {k: v if isinstance(v, list) else [v] for k, v in when.items()}
        settings = tree_of({str(key): value for key, value in chosen.items()})
        layers.append(Layer(f"{file}, _WHEN_ {when}", settings, values))
    return layers


class _StrictLoader(yaml.SafeLoader):
    """YAML in which a repeated key is an error; the base class silently uses the last one."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value} is given twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)
