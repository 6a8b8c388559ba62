"""What all files of a run have in common: a format number, and objects of an expected shape."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from softprompt.core.base.errors import UserError

Shape = type | tuple[type, ...] | list[Any] | Mapping[str, Any]


def check_format(file: Path, found: Any, known: int) -> None:
    """Check the number that a file gives its format.

    Raises:
        UserError: a newer version has written it, or it is no number.
    """
    if type(found) is not int or found < 1:
        raise UserError(f"{file} is damaged: its format is {found!r}, not a number such as {known}")
    if found > known:
        raise UserError(
            f"{file} has format {found}, but softprompt {_own_version()} reads formats up to "
            f"{known}; it needs a newer softprompt than {_own_version()}"
        )


def check_shape(file: Path, found: Any, shape: Shape, place: str = "") -> None:
    """Check that what was read from a file has the expected keys, and values of their types.

    Args:
        shape: a type, several of them, a list of one shape, that of all entries, or by key the
            shape of the value there.
        place: the dotted key that leads to ``found``.

    Raises:
        UserError: something is missing or of another type; it names the file and the key.
    """
    if isinstance(shape, Mapping):
        check_shape(file, found, dict, place)
        for key, inner in shape.items():
            if key not in found:
                raise UserError(f"{file} is damaged: it has no {_dotted(place, key)!r}")
            check_shape(file, found[key], inner, _dotted(place, key))
        return
    if isinstance(shape, list):
        check_shape(file, found, list, place)
        for index, each in enumerate(found):
            check_shape(file, each, shape[0], f"{place}[{index}]")
        return
    types = shape if isinstance(shape, tuple) else (shape,)
    if not isinstance(found, types) or (isinstance(found, bool) and bool not in types):
        names = " or ".join(each.__name__ for each in types)
        what = f"its {place!r}" if place else "it"
        raise UserError(f"{file} is damaged: {what} is {type(found).__name__}, not {names}")


def _dotted(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key


def _own_version() -> str:
    """Return the version of this package, which a worker on another machine may not know."""
    return getattr(sys.modules["softprompt"], "__version__", "of this version")
