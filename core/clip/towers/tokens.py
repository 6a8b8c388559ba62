"""Split texts into token ids, in the same way for each of open_clip's tokenizers."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from softprompt.core.base.errors import UserError

# Words that can hold the place of a context vector: the first that is a single token for the
# tokenizer. For CLIP's it is "X", as in CoOp's code.
PLACEHOLDERS = ("X", "a", "the", "of", "in")
CACHED = 20_000  # texts whose ids are cached, at most


class Tokens:
    """A tokenizer's rows taken apart: leading ids, the words' ids, an end and padding.

    Only ``tokenizer(texts, context_length)``, which returns rows of ids, is used. The ids around
    the words are read off the rows of the empty sentence and of one word, so byte-pair and
    sentencepiece tokenizers, with and without a start token, need no case of their own.
    """

    def __init__(self, tokenizer: Any, length: int):
        """Read the ids around the words.

        Args:
            length: the tower's context length.

        Raises:
            UserError: the words do not come between a fixed start and a fixed end.
        """
        self.tokenizer = tokenizer
        self.length = length
        self._cache: dict[str, list[int]] = {}  # meta-learning asks for its names in every task
        # One place more than the tower reads, so that a sentence that is too long is recognized.
        empty, word = tokenizer(["", "a"], length + 1).tolist()
        same = [a == b for a, b in zip(empty, word, strict=True)]
        self.start = same.index(False)  # the number of leading ids
        self.lead, self.tail = empty[: self.start], empty[self.start :]
        if self.row(self.words(["a"])[0]) != tokenizer(["a"], length)[0].tolist():
            raise UserError(
                f"the tokenizer {type(tokenizer).__name__} does not put the words between a fixed "
                "start and a fixed end, so no context vectors can be put among them"
            )

    def words(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text's words; of a text that is too long, too many to fit."""
        found = {text: self._cache[text] for text in texts if text in self._cache}
        new = [text for text in dict.fromkeys(texts) if text not in found]
        if new:
            rows = map(self._stripped, self.tokenizer(new, self.length + 1).tolist())
            found |= zip(new, rows, strict=True)
            if len(self._cache) + len(new) <= CACHED:
                self._cache |= {text: found[text] for text in new}
        return [found[text] for text in texts]

    def row(self, words: list[int]) -> list[int]:
        """Return the row that the tower reads, ``length`` ids."""
        return (self.lead + words + self.tail)[: self.length]

    def fit(self, words: list[int]) -> bool:
        """Whether the tower can read so many words."""
        return self.start + len(words) + 1 <= self.length  # the end takes a place too

    def _stripped(self, row: list[int]) -> list[int]:
        """Return a row's ids without those around the words."""
        words = row[self.start :]
        for count, token in enumerate(words):
            if token == self.tail[0] and words[count:] == self.tail[: len(words) - count]:
                return words[:count]
        return words

    @cached_property
    def placeholder(self) -> str:
        """A word that is one token, also when it is repeated."""
        for word in PLACEHOLDERS:
            one, four = self.words([word, " ".join([word] * 4)])
            if len(one) == 1 and len(four) == 4:
                return word
        raise UserError(
            f"the tokenizer {type(self.tokenizer).__name__} has none of the words "
            f"{', '.join(PLACEHOLDERS)} as a single token to hold a context vector's place"
        )
