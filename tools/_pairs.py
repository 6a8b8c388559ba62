"""KEY VALUE pairs among a tool's arguments, in whatever place they stand."""

import itertools
import re
from pathlib import Path

KEY = re.compile(r"PLUGINS|USE_CUDA|SEED|OUTPUT_DIR|[A-Z]+(\.[A-Z0-9_]+)+")


def pairs_apart(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Return the other words and the pairs, which a flag that takes many words would swallow."""
    words, pairs, rest = [], [], iter(arguments)
    for word in rest:
        if KEY.fullmatch(word) and not Path(word).exists():
            pairs += [word, *itertools.islice(rest, 1)]
        else:
            words.append(word)
    return words, pairs
