"""Configuration files: YAML with a base file (``_BASE_``) and conditional settings (``_WHEN_``).

``_WHEN_`` is for settings that a paper varies with the dataset or the number of shots::

    OPTIM: {MAX_EPOCH: 200}
    _WHEN_:
      - {DATASET.NUM_SHOTS: [2, 4], SET: {OPTIM.MAX_EPOCH: 100}}
      - {DATASET.NAME: [imagenet], SET: {OPTIM.MAX_EPOCH: 50}}
"""

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import yaml

from softprompt.core.base.errors import UserError, shown

MOST_KEYS = 10_000  # of a file: each alias can multiply them
CONDITIONS = ("DATASET.NAME", "DATASET.NUM_SHOTS")


class Layer(NamedTuple):
    """Some settings of a file, and the conditions under which they apply."""

    file: str
    settings: dict[str, Any]
    when: dict[str, list]  # key: the values for which they apply; empty: always
    lines: Mapping[str, int] = MappingProxyType({})  # of the dotted keys in the file

    def place(self, key: str) -> str:
        """Return where a dotted key is set, for a message: the file, and its line if known."""
        return f"{self.file}, line {self.lines[key]}" if key in self.lines else self.file


def read_layers(file: str | Path, above: tuple[Path, ...] = ()) -> list[Layer]:
    """Return the layers of a file, later ones overriding earlier ones.

    First come those of its ``_BASE_``, a path relative to it, then its unconditional settings,
    then its ``_WHEN_``.

    Args:
        above: the files whose ``_BASE_`` this one is, directly or not.

    Raises:
        UserError: one of the files is missing or malformed, or is its own base.
    """
    file = Path(file).expanduser()
    if file.resolve() in above:
        raise UserError(f"{file}: its _BASE_ files name one another in a circle")
    tree, lines = _parsed(file)
    base = tree.pop("_BASE_", None)
    cases = tree.pop("_WHEN_", [])
    own = Layer(str(file), tree, {}, lines)
    layers = [own, *_cases(cases, own)]
    if base is None:
        return layers
    if not isinstance(base, str):
        raise UserError(
            f"{own.place('_BASE_')}: _BASE_ is {shown(base)}, but takes the path of one YAML file"
        )
    return read_layers(file.parent / base, (*above, file.resolve())) + layers


def read_yaml(file: str | Path) -> dict[str, Any]:
    """Return the content of one YAML file.

    Raises:
        UserError: it is missing, not valid YAML or not a mapping, or repeats a key.
    """
    return _parsed(Path(file).expanduser())[0]


def _parsed(file: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """Return the content of a file, and the lines of its dotted keys, counted from 1."""
    try:
        loader = _StrictLoader(file.read_text(encoding="utf-8"))
        root = loader.get_single_node()
        tree = None if root is None else loader.construct_document(root)
        lines = dict(itertools.islice(_lines(root), MOST_KEYS + 1))
    except RecursionError:
        raise UserError(f"{file} is no valid YAML: it is nested too deeply, or in itself") from None
    except OSError as error:
        if file.is_dir():
            raise UserError(f"the config file {file} is a folder") from None
        if not file.exists():
            raise UserError(f"no such config file: {file}") from None
        raise UserError(f"the config file {file} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: bytes that are no text, a bad date
        raise UserError(f"{file} is no valid YAML: {' '.join(str(error).split())}") from error
    if len(lines) > MOST_KEYS:
        raise UserError(f"{file} holds more than {MOST_KEYS:,} keys, its aliases written out")
    tree = {} if tree is None else tree
    if not isinstance(tree, dict):
        raise UserError(f"{file} holds {type(tree).__name__}, not KEY: value lines")
    return tree, lines


def _lines(node: yaml.Node | None, prefix: str = "") -> Iterator[tuple[str, int]]:
    """Yield the dotted keys below a node with their lines."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield f"{prefix}{key.value}", key.start_mark.line + 1
            yield from _lines(value, f"{prefix}{key.value}.")


def tree_of(flat: dict[str, Any]) -> dict[str, Any]:
    """Return ``{"OPTIM": {"LR": 1}}`` for ``{"OPTIM.LR": 1}``.

    Raises:
        UserError: a key and a part of it both have a value.
    """
    tree: dict[str, Any] = {}
    for dotted, value in flat.items():
        node = tree
        *parents, leaf = dotted.split(".")
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise UserError(f"{dotted} and {parent} are both set, but {parent} is no one value")
        node[leaf] = value
    return tree


def flat_of(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return ``{"OPTIM.LR": 1}`` for ``{"OPTIM": {"LR": 1}}``."""
    flat = {}
    for name, value in tree.items():
        inner = isinstance(value, dict)
        flat |= flat_of(value, f"{prefix}{name}.") if inner else {prefix + name: value}
    return flat


def _cases(cases: Any, own: Layer) -> list[Layer]:
    """Return the layers of the ``_WHEN_`` of the file that ``own`` is of."""
    layers = []
    for case in cases if isinstance(cases, list) else [cases]:
        when = dict(case) if isinstance(case, dict) else {}
        chosen = when.pop("SET", None)
        values = {k: v if isinstance(v, list) else [v] for k, v in when.items()}
        plain = all(isinstance(one, str | int) for allowed in values.values() for one in allowed)
        fits = plain and when and all(key in CONDITIONS for key in when)
        if not (fits and isinstance(chosen, dict) and not _sets_dataset(chosen)):
            raise UserError(
                f"{own.place('_WHEN_')}: _WHEN_ holds {shown(case)}, but takes a list of "
                f"conditions on {' or '.join(CONDITIONS)} with what to SET then, outside DATASET, "
                "such as {DATASET.NUM_SHOTS: [1, 2], SET: {OPTIM.MAX_EPOCH: 50}}"
            )
        settings = tree_of({str(key): value for key, value in chosen.items()})
        layers.append(Layer(f"{own.file}, _WHEN_ {when}", settings, values))
    return layers


def _sets_dataset(chosen: dict) -> bool:
    return any(str(key).split(".")[0] == "DATASET" for key in chosen)


class _StrictLoader(yaml.SafeLoader):
    """YAML in which a repeated key is an error; the base class silently uses the last one."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key is a list or a mapping, but must be a word", key.start_mark
                )
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value} is given twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)
