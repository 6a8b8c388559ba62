"""Sentences, and a walk of them through open_clip's text transformer with prompts put in."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from softprompt.core.base.errors import UserError
from softprompt.core.clip.fast.ragged import Packing
from softprompt.core.clip.towers.block import blocks_of
from softprompt.core.clip.towers.layout import lay_out
from softprompt.core.clip.towers.tokens import Tokens
from softprompt.core.prompts.base import Prompts

# Off the CPU each group of sentences costs about 500 launches a step, each as long as a token takes
# (computed, not measured: no GPU was at hand).
TOKENS_PER_GROUP = 500


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

    def __getitem__(self, classes: slice) -> "Sentences":
        parts = (self.ids, self.embedded, self.end, self.slots)
        return Sentences(*(part[classes] for part in parts), self.shared)

    @cached_property
    def packing(self) -> Packing:
        return Packing(self.ids, self.embedded, self.end)


class TextTower:
    """The text side of an open_clip model: reads its modules, changes nothing.

    Under a causal mask nothing after the place that is pooled can reach it, so sentences are cut
    there, and where they share their start they are packed. Without a mask the padding takes part,
    as in SigLIP, and they keep their full length. The last block runs for the pooled places alone.
    """

    def __init__(
        self, modules: nn.Module, pool: str, end_id: int | None, tokenizer, pack: bool = False
    ):
        """Read the modules.

        Args:
            modules: what holds them, a ``CLIP`` or a ``TextTransformer``.
            pool: the place whose output is the feature: argmax (of the ids), eos or last.
            end_id: the end token's id, for eos.
            pack: lay the weights out for oneDNN.
        """
        self.modules = modules.transformer.resblocks
        self.blocks = blocks_of(self.modules, pack)  # None: they can only be run whole
        self.width = modules.transformer.width
        self.depth = len(self.modules)
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
        length = self.length(ends)
        ids = torch.tensor([row[:length] for row in rows], device=device)
        with torch.no_grad():
            embedded = self.token_embedding(ids) + self.positions[:length]
        end = torch.tensor(ends, device=device)
        slots = torch.tensor(slots, dtype=torch.long, device=device).reshape(len(rows), -1)
        return Sentences(ids, embedded, end, slots + self.tokens.start, shared)

    def length(self, ends: list[int]) -> int:
        """The length to which sentences with these pooled places are cut."""
        return self.context_length if self.mask is None else max(ends) + 1

    def _end(self, row: list[int]) -> int:
        if self.pool == "last":
            return len(row) - 1
        return row.index(max(row) if self.pool == "argmax" else self.end_id)

    def __call__(self, sentences: Sentences, prompts: Prompts) -> Tensor:
        """Return features ``(classes, dim)``, or ``(batch, classes, dim)`` for prompts by image.

        Raises:
            UserError: the prompts do not fit the sentences or the tower.
        """
        batch = prompts.batch
        _check(prompts, sentences, batch or 1, self.depth, self.width)
        walk = self._packed if self.packs(sentences, prompts) else self._padded
        features = self._project(self.final_norm(walk(sentences, prompts, batch or 1)))
        return features if batch is not None else features[0]

    def packs(self, sentences: Sentences, prompts: Prompts) -> bool:
        """Whether to run the sentences packed: their start is shared, and it pays."""
        if self.mask is None or self.blocks is None or not sentences.shared or prompts.by_class:
            return False
        saved = sentences.ids.numel() - sentences.packing.tokens
        groups = len(sentences.packing.rest)
        return sentences.ids.device.type == "cpu" or saved > TOKENS_PER_GROUP * groups

    def tokens_of(self, sentences: Sentences, prompts: Prompts) -> int:
        """The number of tokens that the blocks see."""
        packs = self.packs(sentences, prompts)
        return (prompts.batch or 1) * (sentences.packing.tokens if packs else sentences.ids.numel())

    def _packed(self, sentences: Sentences, prompts: Prompts, batch: int) -> Tensor:
        """Return the last block's output ``(batch, classes, width)`` at the pooled places."""
        packing, start = sentences.packing, self.tokens.start
        x = packing.embedded(batch)  # (tokens, width)
        if prompts.text is not None:
            x = packing.put(x, prompts.text + self._positions(sentences), start, batch)
        for index, block in enumerate(self.blocks):
            if 0 < index <= len(prompts.deep_text):
                x = packing.put(x, prompts.deep_text[index - 1], start, batch)
            run = packing.pooled if index == self.depth - 1 else packing.attended
            x = run(block, x, batch)
        return x

    def _padded(self, sentences: Sentences, prompts: Prompts, batch: int) -> Tensor:
        """The same, each sentence for itself and padded to the longest."""
        x = sentences.embedded.expand(batch, -1, -1, -1).flatten(0, 1)  # (rows, length, width)
        end = sentences.end.repeat(batch)[:, None]
        at = torch.arange(len(x), device=x.device)[:, None], end
        if prompts.text is not None:
            x = self._put(x, prompts.text + self._positions(sentences), sentences)
        mask = None if self.mask is None else self.mask[: x.shape[1], : x.shape[1]]
        for index, module in enumerate(self.modules):
            if 0 < index <= len(prompts.deep_text):
                x = self._put(x, prompts.deep_text[index - 1], sentences)
            if self.blocks is None:
                x = module(x, attn_mask=mask)
            elif index < self.depth - 1:
                x = self.blocks[index](x, mask)
            else:
                seen = None if mask is None else mask[end][:, None]  # (rows, 1, 1, length)
                x = self.blocks[index].pooled(x, at, seen)
        x = x[at] if self.blocks is None else x
        return x.squeeze(1).unflatten(0, (batch, len(sentences)))

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


def _check(prompts: Prompts, sentences: Sentences, batch: int, depth: int, width: int) -> None:
    if len(prompts.deep_text) >= depth:
        raise UserError(
            f"{len(prompts.deep_text)} deep text prompts, but this backbone's text tower has "
            f"{depth - 1} blocks after the first"
        )
    classes, n = sentences.slots.shape
    for vectors in prompts.text_vectors:
        shape = tuple(vectors.shape)
        lead = (batch, classes)[4 - len(shape) :]
        fits = 2 <= len(shape) <= 4 and shape[-2:] == (n, width)
        if not fits or any(a not in (1, b) for a, b in zip(shape[:-2], lead, strict=True)):
            raise UserError(
                f"a text prompt of shape {shape} does not fit {classes} classes with {n} places "
                f"of width {width}"
            )
