"""Class names: read from a file of the user's, and those that CLIP would misread."""

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from unicodedata import normalize

from softprompt.core.base.errors import UserError
from softprompt.core.data.layout import below_root

KEY = "DATASET.NAMES_FILE"
SEPARATORS = {".csv": ",", ".tsv": "\t"}
# A WordNet id; numbers alone; a number before a name; hexadecimal digits; a word for "class" with
# a number.
IDENTIFIER = re.compile(
    r"n\d{8}"
    r"|[\W_]*\d[\d\W_]*"
    r"|\d+[._-]+\D.*"
    r"|(?=.*\d)[0-9a-f-]{8,}"
    r"|(class|label|category|id|c)[ _-]?\d+",
    re.IGNORECASE,
)


def renamed(classnames: Sequence[str], file: Path) -> tuple[str, ...]:
    """Return the class name that a file gives to each of a dataset's own.

    Args:
        file: CSV or TSV with two columns, a class as the dataset calls it and its class name. Lines
            of other classes, such as a heading, are passed over.

    Raises:
        UserError: the file cannot be read, or gives a class no name or two.
    """
    names = _read(file)
    missing = [name for name in classnames if _unified(name) not in names]
    if missing:
        others = f" (and {len(missing) - 1:,} others)" if len(missing) > 1 else ""
        raise UserError(
            f"{file} gives no class name to {missing[0]!r}{others}; it has {len(names):,} lines "
            f"such as {', '.join(next(iter(names.items()), ('folder', 'class name')))!r}"
        )
    return tuple(names[_unified(name)] for name in classnames)


def find_file(root: str | Path, named: str) -> Path:
    """Return the file that ``DATASET.NAMES_FILE`` names, below ``root`` unless it is absolute.

    Raises:
        UserError: it does not exist.
    """
    return below_root(root, named, KEY, folder=False)


def identifiers(classnames: Iterable[str]) -> list[str]:
    """Return the names that are identifiers rather than words."""
    return [name for name in classnames if IDENTIFIER.fullmatch(name)]


def alike(classnames: Iterable[str]) -> list[tuple[str, ...]]:
    """Return the groups of names that are the same sentence to CLIP.

    It reads no case, ``_`` as a space, and several spaces as one.
    """
    groups: dict[str, list[str]] = {}
    for name in classnames:
        groups.setdefault(" ".join(name.replace("_", " ").lower().split()), []).append(name)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def _read(file: Path) -> dict[str, str]:
    separator = SEPARATORS.get(file.suffix.lower())
    if separator is None:
        raise UserError(f"{KEY} {file} is neither a .csv nor a .tsv file")
    names: dict[str, str] = {}
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            reader = csv.reader(opened, delimiter=separator, strict=True)
            for row in filter(None, reader):
                own, name = map(str.strip, row) if len(row) == 2 else ("", "")
                if not own or not name:
                    raise UserError(
                        f"{file}, line {reader.line_num}: {separator.join(row)!r} is not a class "
                        "and its class name (one with the separator in it needs quotes)"
                    )
                if names.setdefault(_unified(own), name) != name:
                    raise UserError(
                        f"{file} calls {own!r} {names[_unified(own)]!r} and also {name!r}"
                    )
    except UnicodeDecodeError:
        raise UserError(f"{file} is no UTF-8 text; save it as UTF-8") from None
    except (OSError, csv.Error) as error:
        raise UserError(f"{file} cannot be read: {error}") from None
    return names


def _unified(name: str) -> str:
    """Return a name as every system spells it: macOS stores an accent apart from its letter."""
    return normalize("NFC", name)
