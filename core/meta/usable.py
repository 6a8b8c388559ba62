"""Which pairs are clustered."""

import numpy as np

from softprompt.core.meta.encode import FEWEST_TOKENS, MOST_TOKENS
from softprompt.core.meta.features import PairFeatures

MANY = 50_000  # pairs, from which on a caption is used once


def usable_pairs(features: PairFeatures, kept: float) -> tuple[np.ndarray, dict[str, int]]:
    """Return the positions of the pairs to cluster, and how many each filter left out.

    Of several captions of one picture the best matching stays, so no picture is in two classes.
    Among many pairs a caption stays once too; among fewer it may belong to several pictures.

    Args:
        kept: the share of pairs, those whose picture and caption agree best, that stays at last.
    """
    similarity = np.einsum(
        "nd,nd->n", features.image.float().numpy(), features.text.float().numpy()
    )
    tokens = features.tokens.numpy()
    rows = np.arange(len(features))
    dropped = {}

    def keep(reason: str, mask: np.ndarray) -> None:
        nonlocal rows
        dropped[reason] = int((~mask).sum())
        rows = rows[mask]

    keep("unreadable", np.array([bool(features.pictures[row]) for row in rows]))
    fits = (tokens[rows] >= FEWEST_TOKENS) & (tokens[rows] <= MOST_TOKENS)
    keep(f"caption not of {FEWEST_TOKENS} to {MOST_TOKENS} tokens", fits)
    keep("picture again", _best([features.pictures[row] for row in rows], similarity[rows]))
    if len(features) >= MANY:
        keep("caption again", _best([features.captions[row] for row in rows], similarity[rows]))
    if len(rows):
        floor = np.quantile(similarity[rows], 1 - kept)
        keep("picture and caption agree least", similarity[rows] >= floor)
    return rows, dropped


def _best(keys: list, scores: np.ndarray) -> np.ndarray:
    """A mask of the best of each group of equal keys."""
    best: dict = {}
    for position in np.argsort(-scores, kind="stable"):
        best.setdefault(keys[position], position)
    mask = np.zeros(len(keys), bool)
    mask[list(best.values())] = True
    return mask
