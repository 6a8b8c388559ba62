"""Name clusters of captions by a phrase that sets a class apart and that fits it by CLIP."""

import math
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache

import numpy as np

from softprompt.core.clip.frozen import FrozenCLIP
from softprompt.core.meta.clusters.kmeans import unit
from softprompt.core.prompts.templates import PHOTO

KINDS = ("phrase", "medoid")
MEDOID_WORDS = 8  # of a caption that serves as a name
CANDIDATES = 20  # phrases of a class that CLIP chooses from
LEAST_SHARE = 0.15  # of a class's captions must contain its name
WORD = re.compile(r"[^\W\d_]{2,}(?:['’-][^\W\d_]+)*")
BREAK = re.compile(r"[^\w\s'’-]")  # phrases do not extend across punctuation
# words about a picture as such, not about what it shows
PICTURE_WORDS = {
    *("photo", "photos", "photograph", "picture", "pictures", "pic", "image", "images"),
    *("type", "kind", "view", "stock", "background"),
}


@cache
def _ignored() -> frozenset[str]:
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return ENGLISH_STOP_WORDS | PICTURE_WORDS


def phrases(caption: str) -> set[str]:
    """Return the words of a caption and its pairs of neighbouring words, without stop words.

    No tagger separates nouns from other words; the scores decide which of them name the class.
    """
    found = set()
    for clause in BREAK.split(caption.lower()):
        last = ""
        for word in clause.split():
            match = WORD.fullmatch(word)
            if match is None or word in _ignored():
                last = ""
                continue
            found.add(word)
            if last and last != word:
                found.add(f"{last} {word}")
            last = word
    return found


def candidates(classes: list[list[str]]) -> list[list[str]]:
    """Return the phrases that set each class of a topic apart, best first.

    The score is the class-based TF-IDF of BERTopic (https://arxiv.org/abs/2203.05794),
    tf log(1 + A / f): the share tf of the class's captions with the phrase, its count f in all
    classes, and the mean count A of phrases in a class. Phrases in too few captions are left out.

    Args:
        classes: the captions of each class.
    """
    counts = [Counter(p for caption in captions for p in phrases(caption)) for captions in classes]
    total = sum(counts, Counter())
    mean = sum(total.values()) / max(len(classes), 1)
    found = []
    for count, captions in zip(counts, classes, strict=True):
        scores = {
            phrase: n / len(captions) * math.log(1 + mean / total[phrase])
            for phrase, n in count.items()
            if n >= LEAST_SHARE * len(captions)
        }
        found.append(sorted(scores, key=lambda p: (-scores[p], p))[:CANDIDATES])
    return found


def choose(options: list[list[str]], scores: list[np.ndarray]) -> list[str]:
    """Return a distinct name for each class, "" if none is left; the best fits choose first.

    Args:
        options: the candidates of each class.
        scores: how well each of them fits its class.
    """
    ranked = sorted(
        (-score, cls, name)
        for cls, (names, values) in enumerate(zip(options, scores, strict=True))
        for name, score in zip(names, values.tolist(), strict=True)
    )
    chosen, used = [""] * len(options), set[str]()
    for _, cls, name in ranked:
        key = name.removesuffix("s")  # a plural does not make another class
        if not chosen[cls] and key not in used:
            chosen[cls] = name
            used.add(key)
    return chosen


@dataclass(frozen=True)
class ClassToName:
    """The content of a class, from which its name is chosen."""

    captions: list[str]  # the most central first
    direction: np.ndarray  # (dim,), of its texts and pictures together, unit length


class Namer:
    """Name the classes of a topic; each phrase is encoded once."""

    def __init__(self, clip: FrozenCLIP, text_mean: np.ndarray, kind: str):
        """Start with no phrase encoded.

        Args:
            text_mean: ``(dim,)``, of all captions; it is subtracted from the features of names, as
                it is from those of captions.
            kind: by a "phrase" of the captions, or by the "medoid", the first words of the most
                central caption.
        """
        self.clip = clip
        self.text_mean = text_mean
        self.kind = kind
        self.known: dict[str, np.ndarray] = {}

    def names(self, classes: list[ClassToName]) -> list[str]:
        """Return a name for each class of a topic, "" for one without a name of its own."""
        if self.kind == "medoid":
            options = [
                [" ".join(c.captions[0].split()[:MEDOID_WORDS]).strip(" .,")] for c in classes
            ]
        else:
            options = candidates([cls.captions for cls in classes])
        scores = [
            self._encoded(phrases) @ cls.direction
            for phrases, cls in zip(options, classes, strict=True)
        ]
        return choose(options, scores)

    def _encoded(self, phrases: list[str]) -> np.ndarray:
        """Return centred unit features ``(phrases, dim)`` of sentences with the phrases."""
        missing = [phrase for phrase in phrases if phrase not in self.known]
        if missing:
            features = unit(self.clip.encode_in_chunks(missing, PHOTO).cpu().float().numpy())
            self.known.update(zip(missing, unit(features - self.text_mean), strict=True))
        return np.array([self.known[phrase] for phrase in phrases]).reshape(-1, len(self.text_mean))
