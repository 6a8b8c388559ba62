"""Sentences, and a walk of them through open_clip's text transformer with prompts put in."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from softprompt.core.errors import UserError
from softprompt.core.prompts.base import Prompts
from softprompt.core.towers.layout import lay_out
from softprompt.core.towers.tokens import Tokens


@dataclass(frozen=True)
class Sentences:
    """One sentence a class, ready for the tower.

    ``embedded`` is ``(classes, length, width)``, positions added; ``end`` ``(classes,)`` is the
    place whose output is the sentence's feature; ``slots`` ``(classes, n)`` are the places of the
    context vectors, the same run of places for all where ``shared``.
    """

    ids: Tensor
    embedded: Tensor
    end: Tensor
    slots: Tensor
    shared: bool

    def __len__(self) -> int:
        return len(self.ids)


class TextTower:
    """The text side of an open_clip model: reads its modules, changes nothing.

    Under a causal mask nothing after the place that is pooled can reach it, so sentences are cut
    there. Without a mask the padding takes part, as in SigLIP, and they keep their full length.
    """

    def __init__(self, modules: nn.Module, pool: str, end_id: int | None, tokenizer):
        """Read the modules.

        Args:
            modules: what holds them, a ``CLIP`` or a ``TextTransformer``.
            pool: the place whose output is the feature: argmax (of the ids), eos or last.
            end_id: the end token's id, for eos.
        """
        self.blocks = modules.transformer.resblocks
        self.width = modules.transformer.width
        self.depth = len(self.blocks)
        self.context_length = modules.context_length
        self.token_embedding = modules.token_embedding
        self.positions = modules.positional_embedding  # (context length, width)
        self.mask = modules.attn_mask  # (context length, context length), causal, or None
        self.final_norm = modules.ln_final
        self.projection = modules.text_projection
        self.pool = pool
        self.end_id = end_id
        self.tokenizer = tokenizer

    @property
    def dim(self) -> int:
        if self.projection is None:
            return self.width
        is_layer = isinstance(self.projection, nn.Linear)
        return self.projection.out_features if is_layer else self.projection.shape[1]

    @cached_property
    def tokens(self) -> Tokens:
        return Tokens(self.tokenizer, self.context_length)

    def sentences(
        self, classnames, template: str, n_context: int = 0, position: str = "end"
    ) -> Sentences:
        """Tokenize ``template`` around each name, with ``n_context`` places for learned vectors.

        Raises:
            UserError: a sentence is longer than the tower's context, or context vectors cannot
                take the places of the template's first tokens.
        """
        rows, slots = lay_out(self.tokens, classnames, template, n_context, position)
        return self._embedded([self.tokens.row(row) for row in rows], slots, position == "end")

    def _embedded(self, rows: list[list[int]], slots: list[list[int]], shared: bool) -> Sentences:
        device = self.positions.device
        ends = [self._end(row) for row in rows]
        length = self.context_length if self.mask is None else max(ends) + 1
        ids = torch.tensor([row[:length] for row in rows], device=device)
        with torch.no_grad():
            embedded = self.token_embedding(ids) + self.positions[:length]
        end = torch.tensor(ends, device=device)
        slots = torch.tensor(slots, dtype=torch.long, device=device).reshape(len(rows), -1)
        return Sentences(ids, embedded, end, slots + self.tokens.start, shared)

    def _end(self, row: list[int]) -> int:
        if self.pool == "last":
            return len(row) - 1
        return row.index(max(row) if self.pool == "argmax" else self.end_id)

    def __call__(self, sentences: Sentences, prompts: Prompts) -> Tensor:
        """Return features ``(classes, dim)``, or ``(batch, classes, dim)`` for prompts by image.

        Raises:
            UserError: the prompts do not fit the sentences or the tower.
        """
        batch = _batch(prompts)
        _check(prompts, sentences, batch or 1, self.depth, self.width)
        x, end = sentences.embedded, sentences.end  # (classes, length, width), (classes,)
        if batch is not None:
            x = x.expand(batch, -1, -1, -1).flatten(0, 1)
            end = end.repeat(batch)
        if prompts.text is not None:
            x = self._put(x, prompts.text + self._positions(sentences), sentences)
        mask = None if self.mask is None else self.mask[: x.shape[1], : x.shape[1]]
        for index, block in enumerate(self.blocks):
            if 0 < index <= len(prompts.deep_text):
                x = self._put(x, prompts.deep_text[index - 1], sentences)
            x = block(x, attn_mask=mask)
        features = self._project(self.final_norm(x[torch.arange(len(x), device=x.device), end]))
        return features if batch is None else features.unflatten(0, (batch, len(sentences)))

    def _positions(self, sentences: Sentences) -> Tensor:
        """Position embeddings of the slots, ``(n, width)`` or ``(classes, n, width)``."""
        if not sentences.shared:
            return self.positions[sentences.slots]
        start = self.tokens.start
        return self.positions[start : start + sentences.slots.shape[1]]

    def _put(self, x: Tensor, vectors: Tensor, sentences: Sentences) -> Tensor:
        """Return ``x`` ``(rows, length, width)`` with ``vectors`` ``(..., n, width)`` in the slots.

        The rows are the classes, or the classes once for each image.
        """
        classes, n = sentences.slots.shape
        batch = len(x) // classes
        vectors = vectors.to(x.dtype).expand(batch, classes, n, -1).flatten(0, 1)
        if sentences.shared:
            start = self.tokens.start
            return torch.cat([x[:, :start], vectors, x[:, start + n :]], dim=1)
        slots = sentences.slots.repeat(batch, 1)[..., None]
        return x.scatter(1, slots.expand(-1, -1, x.shape[2]), vectors)

    def _project(self, pooled: Tensor) -> Tensor:
        if self.projection is None:
            return pooled
        if isinstance(self.projection, nn.Module):
            return self.projection(pooled)
        return pooled @ self.projection


def _batch(prompts: Prompts) -> int | None:
    """The number of images that text prompts depend on, if they do."""
    for vectors in (prompts.text, *prompts.deep_text):
        if vectors is not None and vectors.dim() == 4:
            return len(vectors)
    return None


def _check(prompts: Prompts, sentences: Sentences, batch: int, depth: int, width: int) -> None:
    if len(prompts.deep_text) >= depth:
        raise UserError(
            f"{len(prompts.deep_text)} deep text prompts, but this backbone's text tower has "
            f"{depth - 1} blocks after the first"
        )
    classes, n = sentences.slots.shape
    for vectors in (prompts.text, *prompts.deep_text):
        if vectors is None:
            continue
        shape = tuple(vectors.shape)
        lead = (batch, classes)[4 - len(shape) :]
        fits = 2 <= len(shape) <= 4 and shape[-2:] == (n, width)
        if not fits or any(a not in (1, b) for a, b in zip(shape[:-2], lead, strict=True)):
            raise UserError(
                f"a text prompt of shape {shape} does not fit {classes} classes with {n} places "
                f"of width {width}"
            )
