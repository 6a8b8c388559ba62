"""Lay out sentences: the places of their context vectors and class names."""

from collections.abc import Sequence

from softprompt.core.base.errors import UserError
from softprompt.core.clip.towers.tokens import Tokens
from softprompt.core.prompts.base import POSITIONS


def lay_out(
    tokens: Tokens, classnames: Sequence[str], template: str, n_context: int, position: str
) -> tuple[list[list[int]], list[list[int]]]:
    """Return each class's words as ids, and the places of its context vectors among them.

    The places are those of the first ``n_context`` tokens; an "X" there is any word of a single
    token. A sentence is tokenized whole, with the name last, before a name is moved: a
    sentencepiece tokenizer may give a word at the start of a sentence another id than within it.

    Raises:
        UserError: a sentence is too long, or a place has another token for one class than for the
            others.
    """
    if position not in POSITIONS:
        raise UserError(f"the class name's position is {position!r}, not {' or '.join(POSITIONS)}")
    names = [name.replace("_", " ") for name in classnames]
    if n_context:
        template = _with_placeholders(template, n_context, tokens)
    rows = tokens.words([template.replace("{}", name) for name in names])
    slots = [[*range(n_context)]] * len(names)
    if n_context:
        before = template.split("{}")[0]
        (fixed,) = tokens.words([before.rstrip()])
        _check_places(names, rows, before, fixed, n_context, position)
        if position != "end":
            named = tokens.words([before + name for name in names])
            ahead = n_context // 2 if position == "middle" else 0
            rows, slots = _moved(rows, named, len(fixed), n_context, ahead)
    for name, row in zip(names, rows, strict=True):
        if not tokens.fit(row):
            raise UserError(
                f"the sentence for class {name!r} is too long with {n_context} context vectors; "
                f"this backbone reads {tokens.length} tokens"
            )
    return rows, slots


def _with_placeholders(template: str, n_context: int, tokens: Tokens) -> str:
    """Return ``template`` with a placeholder for each leading X of its context."""
    words = template.split(" ")
    for index in range(min(n_context, len(words))):
        if words[index] != "X":
            break
        words[index] = tokens.placeholder
    return " ".join(words)


def _check_places(
    names: list[str],
    rows: list[list[int]],
    before: str,
    fixed: list[int],
    n_context: int,
    position: str,
) -> None:
    """Raise ``UserError`` unless the places hold the same tokens for all classes."""
    before = before.rstrip()
    if n_context > len(fixed):
        raise UserError(
            f"{before!r} before the class name has {len(fixed)} tokens, too few for {n_context} "
            "context vectors"
        )
    kept = fixed[:n_context] if position == "end" else fixed
    for name, row in zip(names, rows, strict=True):
        if row[: len(kept)] != kept:
            raise UserError(
                f"{before!r} has other tokens before the class name {name!r} than by itself, so "
                "context vectors cannot take their places; set CTX_INIT ''"
            )


def _moved(
    rows: list[list[int]], named: list[list[int]], first: int, n_context: int, ahead: int
) -> tuple[list[list[int]], list[list[int]]]:
    """Move each name, ``row[first : len(named)]``, to behind the first ``ahead`` tokens."""
    moved, slots = [], []
    for row, last in zip(rows, map(len, named), strict=True):
        moved.append(row[:ahead] + row[first:last] + row[ahead:first] + row[last:])
        after = last - first
        slots.append([*range(ahead), *range(ahead + after, n_context + after)])
    return moved, slots
