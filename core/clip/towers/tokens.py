"""Words as ids, in the same way for every tokenizer that open_clip has."""

from functools import cached_property

from softprompt.core.base.errors import UserError

# Words that can hold the place of a context vector; a tokenizer's first that is a single token is
# taken. In CLIP's it is "X", as in CoOp's code.
PLACEHOLDERS = ("X", "a", "the", "of", "in")
KEPT = 20_000  # texts whose ids are kept, at most


class Tokens:
    """What a tokenizer makes of a sentence: leading ids, the words' ids, an end and padding.

    Only ``tokenizer(texts, context_length)``, which returns rows of ids, is used. What stands
    around the words is read off the rows of the empty sentence and of one word, so byte-pair and
    sentencepiece tokenizers, with and without a start token, need no case of their own.
    """

    def __init__(self, tokenizer, length: int):
        self.tokenizer = tokenizer
        self.length = length
        self._kept: dict[str, list[int]] = {}  # meta-learning asks for its names in every task
        # One place more than the tower reads, so that a sentence too long is seen to be so.
        empty, word = tokenizer(["", "a"], length + 1).tolist()
        same = [a == b for a, b in zip(empty, word, strict=True)]
        self.start = same.index(False)  # the number of leading ids
        self.lead, self.tail = empty[: self.start], empty[self.start :]
        if self.row(self.words(["a"])[0]) != tokenizer(["a"], length)[0].tolist():
            raise UserError(
                f"the tokenizer {type(tokenizer).__name__} does not put the words between a fixed "
                "start and a fixed end, so no context vectors can be put among them"
            )

    def words(self, texts: list[str]) -> list[list[int]]:
        """Return each text's ids, without those around them; of one too long, too many to fit."""
        found = {text: self._kept[text] for text in texts if text in self._kept}
        new = [text for text in dict.fromkeys(texts) if text not in found]
        if new:
            rows = map(self._stripped, self.tokenizer(new, self.length + 1).tolist())
            found |= zip(new, rows, strict=True)
            if len(self._kept) + len(new) <= KEPT:
                self._kept |= {text: found[text] for text in new}
        return [found[text] for text in texts]

    def row(self, words: list[int]) -> list[int]:
        """Return the row that the tower reads, ``length`` ids."""
        return (self.lead + words + self.tail)[: self.length]

    def fit(self, words: list[int]) -> bool:
        return self.start + len(words) + 1 <= self.length  # the end takes a place too

    def _stripped(self, row: list[int]) -> list[int]:
        words = row[self.start :]
        for count, token in enumerate(words):
            if token == self.tail[0] and words[count:] == self.tail[: len(words) - count]:
                return words[:count]
        return words

    @cached_property
    def placeholder(self) -> str:
        """A word that is one token wherever it stands among its like."""
        for word in PLACEHOLDERS:
            one, four = self.words([word, " ".join([word] * 4)])
            if len(one) == 1 and len(four) == 4:
                return word
        raise UserError(
            f"the tokenizer {type(self.tokenizer).__name__} has none of the words "
            f"{', '.join(PLACEHOLDERS)} as a single token to hold a context vector's place"
        )
