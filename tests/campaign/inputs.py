"""Draw inputs, try each, and collect what fails: one failure does not end a campaign."""

import os
import shutil
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

SHARE = float(os.environ.get("CAMPAIGN_SHARE", "1"))
SEED = int(os.environ.get("CAMPAIGN_SEED", "0"))
SHOWN = 12  # failures that a message shows in full

Case = TypeVar("Case")

# Words that have a meaning to some reader: YAML, Python, a shell, printf, HTML, LaTeX, a terminal.
NASTY = (
    "", " ", "\t", "~", "null", "none", "true", "False", "-", "--", "-1", "0", "1", "2", "7", "0.5",
    "-0.0", "1e-320", "1e309", "-1e309", "nan", "inf", "-inf", "1_000", "0x10", "1e3", "1,5",
    "99999999999999999999", "[]", "()", "{}", "(1,)", "(0.9, 0.1)", "(0.5,)", "('a', 'b')",
    "[1, [2]]", "{a: 1}", "{1: 2}", "[", "(", "{", "'", '"', "'a", "a:", ": a", "a: b: c", "- a",
    "*a", "&a [*a]", "!!python/object:os.system x", "!!int x", "# a", "%", "%s", "%(x)s", "{0}",
    "{x}", "$HOME", "$(touch pwned)", "`touch pwned`", ";touch pwned", "a|b", "a&b", "<b>x</b>",
    "\\", "\\n", "a\nb", "a\r\nb", "\x1b[31mred", "\x07", "\u202egnp", "\u0000a", "é", "ж", "犬",
    "🐦", "a" * 300, "a" * 5000, "..", ".", "/", "/dev/null", "/nope/x", "../../x", "con", "a/b",
    "lambda: 0", "__import__('os')", "1" * 400, "[" * 200, "None", "int", "cosine", "sgd", "all",
)  # fmt: skip

nasty_words = st.sampled_from(NASTY) | st.text(max_size=12) | st.integers().map(str)
# An argument of a process holds no zero byte and nothing that has no UTF-8.
arguments = nasty_words.filter(lambda word: "\0" not in word).filter(
    lambda word: not any("\ud800" <= letter <= "\udfff" for letter in word)
)


class Campaign:
    """Tries many inputs of one kind.

    Args:
        kind: of the inputs, for the summary.
        place: a folder for the inputs' own folders, which are removed if all went well.
        record: called at the end with each kind and its number.

    Attributes:
        counts: the number of inputs tried, and what else a check counts.
    """

    def __init__(self, kind: str, place: Path, record: Callable[[str, int], None]) -> None:
        self.counts: Counter[str] = Counter()
        self._kind = kind
        self._place = place
        self._record = record

    def run(
        self, cases: st.SearchStrategy[Case], check: Callable[[Case, Path], None], inputs: int
    ) -> None:
        """Call ``check(case, folder)`` with so many cases, times CAMPAIGN_SHARE.

        The folder is new and empty. A check that raises has failed.
        """
        tried, failures = 0, []

        @seed(SEED)
        @settings(
            max_examples=max(2, round(inputs * SHARE)),
            phases=[Phase.generate],  # shrinking would try hundreds more
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(cases)
        def try_one(case: Case) -> None:
            nonlocal tried
            folder = self._place / f"input_{tried}"
            folder.mkdir()
            tried += 1
            try:
                check(case, folder)
            except Exception as error:
                wrong = isinstance(error, AssertionError)
                said = str(error) if wrong else traceback.format_exc()
                failures.append(f"input {tried - 1}: {shortened(repr(case), 400)}\n{said}")
            else:
                shutil.rmtree(folder, ignore_errors=True)

        try_one()
        for kind, count in (self.counts + Counter({self._kind: tried})).items():
            self._record(kind, count)
        if failures:
            shown = "\n\n".join(failures[:SHOWN])
            pytest.fail(f"{len(failures)} of {tried} inputs failed:\n\n{shown}", pytrace=False)


def shortened(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length // 2]} ... {text[-length // 2 :]}"
