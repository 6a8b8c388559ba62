"""Configuration files: YAML over the file that ``_BASE_`` names."""

from pathlib import Path

import yaml

from softprompt.core.errors import UserError


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
