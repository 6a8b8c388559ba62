"""A causal text tower on sentences without padding, their shared start computed once.

Under a causal mask the start token, a context shared by all classes and further common words are
the same in every sentence and every block, so they are computed once and the sentences attend to
their keys and values. Sentences are grouped by length, so no padding is computed.

Exact up to rounding, gradients of every order included. Slow counterpart: ``TextTower``, which pads
the sentences to one length.
"""

import math
from functools import cached_property
from itertools import groupby

import torch
from torch import Tensor

from softprompt.core.clip.towers.block import Block
from softprompt.core.clip.towers.text import Sentences, TextTower
from softprompt.core.prompts.base import Prompts

# Where launches cost most, each group of sentences costs about 120 of them a step in ViT-B/16
# (counted). On an H100 in half precision one took 35 microseconds, or about 3 within a CUDA graph,
# and a token takes about half of one (computed); this lies between the two.
TOKENS_PER_GROUP = 2000


class RaggedSentences(Sentences):
    """Sentences that keep their layout without padding once it is needed."""

    @classmethod
    def of(cls, sentences: Sentences) -> "RaggedSentences":
        parts = (sentences.ids, sentences.embedded, sentences.end, sentences.slots)
        return cls(*parts, sentences.shared)

    @cached_property
    def layout(self) -> "Layout":
        return Layout(self.ids, self.embedded, self.end)


def applies(tower: TextTower, sentences: RaggedSentences, prompts: Prompts) -> bool:
    """Whether the sentences share a start in this tower, and leaving the padding out pays."""
    if tower.mask is None or not tower.parts or not sentences.shared or prompts.by_class:
        return False
    saved = sentences.ids.numel() - sentences.layout.tokens
    groups = len(sentences.layout.rest)
    return not tower.launch_bound or saved > TOKENS_PER_GROUP * groups


def tokens_of(tower: TextTower, sentences: RaggedSentences, prompts: Prompts) -> int:
    """Return the number of tokens that the blocks compute."""
    ragged = applies(tower, sentences, prompts)
    return (prompts.batch or 1) * (sentences.layout.tokens if ragged else sentences.ids.numel())


def encode_text_ragged(tower: TextTower, sentences: RaggedSentences, prompts: Prompts) -> Tensor:
    """Return ``tower(sentences, prompts)``, without padding where that applies."""
    if not applies(tower, sentences, prompts):
        return tower(sentences, prompts)
    tower.check(sentences, prompts)
    layout, start, batch = sentences.layout, tower.tokens.start, prompts.batch or 1
    x = layout.embedded(batch)  # (tokens, width)
    if prompts.text is not None:
        x = layout.put(x, prompts.text + tower.positions_of(sentences), start, batch)
    for index, block in enumerate(tower.parts):
        if 0 < index <= len(prompts.deep_text):
            x = layout.put(x, prompts.deep_text[index - 1], start, batch)
        run = layout.pooled if index == tower.depth - 1 else layout.attended
        x = run(block, x, batch)
    return tower.features(x, prompts)


class Layout:
    """The place of each token of some sentences: the shared start first, the rest by length."""

    def __init__(self, ids: Tensor, embedded: Tensor, end: Tensor):
        """Sort the sentences by length.

        Args:
            ids: ``(classes, length)``.
            embedded: ``(classes, length, width)``.
            end: places of the end tokens, ``(classes,)``.
        """
        ends = end.tolist()
        differs = (ids != ids[0]).any(dim=0).tolist()
        common = differs.index(True) if True in differs else len(differs)
        start = self.start = min(common, *ends)  # each sentence keeps its end token
        by_length = groupby(sorted(range(len(ends)), key=ends.__getitem__), key=ends.__getitem__)
        groups = {last + 1 - start: list(members) for last, members in by_length}

        self.shared = embedded[0, :start]  # (start, width)
        self.rest = [  # (sentences, length, width) each
            embedded[members, start : start + length] for length, members in groups.items()
        ]
        # The last token of a sentence sees all of it and needs no mask.
        self.masks = [causal_mask(n, start, embedded) if n > 1 else None for n in groups]
        self.start_mask = causal_mask(start, 0, embedded)
        order = torch.tensor([index for members in groups.values() for index in members])
        self.inverse = torch.argsort(order).to(ids.device)
        self.tokens = start + sum(rest.shape[0] * rest.shape[1] for rest in self.rest)

    def embedded(self, batch: int) -> Tensor:
        """Return all tokens ``(tokens, width)``, each group of them once for every image."""
        parts = [self.shared, *self.rest]
        return torch.cat(
            [part.expand(batch, *part.shape).reshape(-1, part.shape[-1]) for part in parts]
        )

    def put(self, x: Tensor, vectors: Tensor, first: int, batch: int) -> Tensor:
        """Return ``x`` with ``vectors`` ``(..., n, width)`` in the shared start, from ``first``."""
        n, width = vectors.shape[-2:]
        count = batch * self.start
        shared, rest = x.split([count, len(x) - count])
        shared = shared.unflatten(0, (batch, self.start))
        vectors = vectors.to(x.dtype).reshape(-1, n, width).expand(batch, -1, -1)
        before, _, after = shared.split([first, n, self.start - first - n], dim=1)
        shared = torch.cat([before, vectors, after], dim=1)
        return torch.cat([shared.flatten(0, 1), rest])

    def attended(self, block: Block, x: Tensor, batch: int) -> Tensor:
        """Return the block's output ``(tokens, width)`` for all tokens."""
        projected = block.projected(x)  # (tokens, 3, heads, head width)
        shared = projected[: batch * self.start].unflatten(0, (batch, self.start))
        found = [block.attend([shared], self.start_mask, True).flatten(0, 1)]
        for own, mask in zip(self._groups(projected, batch), self.masks, strict=True):
            keys_values = self._behind(shared[:, :, 1:], own[:, :, :, 1:])
            query = own[:, :, :, :1].flatten(0, 1)
            found.append(block.attend([query, keys_values], mask).flatten(0, 1))
        return block.finished(x, torch.cat(found))

    def pooled(self, block: Block, x: Tensor, batch: int) -> Tensor:
        """Return the block's output ``(batch, classes, width)`` for the end tokens."""
        normed = block.norm_1(x)
        keys_values = block.by_head(block.key_value(normed), 2)
        shared = keys_values[: batch * self.start].unflatten(0, (batch, self.start))
        queries = block.by_head(block.query(self._ends(normed, batch)), 1)
        queries = queries.split([len(rest) for rest in self.rest], dim=1)  # (batch, n, 1, ...) each
        found = []
        for query, own in zip(queries, self._groups(keys_values, batch), strict=True):
            attended = block.attend([query[:, :, None].flatten(0, 1), self._behind(shared, own)])
            found.append(attended.unflatten(0, (batch, -1)).squeeze(2))
        x = block.finished(self._ends(x, batch), torch.cat(found, dim=1))
        return x.index_select(1, self.inverse)

    def _ends(self, x: Tensor, batch: int) -> Tensor:
        """Return the end tokens ``(batch, classes, width)``, sorted by length, of all ``x``."""
        return torch.cat([own[:, :, -1] for own in self._groups(x, batch)], dim=1)

    def _groups(self, x: Tensor, batch: int) -> list[Tensor]:
        """Return each group's part of ``x``, ``(batch, sentences, length, ...)``."""
        shapes = [(batch, *rest.shape[:2]) for rest in self.rest]
        parts = x[batch * self.start :].split([math.prod(shape) for shape in shapes])
        return [part.unflatten(0, shape) for part, shape in zip(parts, shapes, strict=True)]

    def _behind(self, shared: Tensor, own: Tensor) -> Tensor:
        """Return keys and values ``(rows, start + length, 2, heads, head width)`` of a group.

        Args:
            shared: those of the start, ``(batch, start, 2, heads, head width)``.
            own: those of the group, ``(batch, sentences, length, 2, heads, head width)``.
        """
        shared = shared[:, None].expand(-1, own.shape[1], -1, -1, -1, -1)
        return torch.cat([shared, own], dim=2).flatten(0, 1)


def causal_mask(length: int, before: int, like: Tensor) -> Tensor:
    """Return the mask ``(length, before + length)`` of tokens that follow ``before`` others.

    Each sees those others, the tokens before it, and itself.
    """
    hidden = torch.full((length, before + length), -torch.inf, dtype=like.dtype, device=like.device)
    return hidden.triu(before + 1)
