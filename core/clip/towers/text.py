"""Sentences, and open_clip's text transformer run on them with prompts put in."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from softprompt.core.base.errors import UserError
from softprompt.core.clip.towers.block import blocks_of
from softprompt.core.clip.towers.layout import lay_out
from softprompt.core.clip.towers.tokens import Tokens
from softprompt.core.prompts.base import Prompts

S = TypeVar("S", bound="Sentences")


@dataclass(frozen=True, eq=False)
class Sentences:
    """One tokenized sentence a class, ready for the tower.

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

    @cached_property
    def places(self) -> Tensor:
        """The place of each sentence's ``end`` among all tokens, ``(classes,)``."""
        classes, length = self.ids.shape
        return self.end + length * torch.arange(classes, device=self.ids.device)

    def __getitem__(self: S, classes: slice) -> S:
        return replace(
            self,
            ids=self.ids[classes],
            embedded=self.embedded[classes],
            end=self.end[classes],
            slots=self.slots[classes],
        )


class TextTower:
    """The text side of an open_clip model: reads its modules, changes nothing.

    Under a causal mask nothing after the pooled place can reach it, so sentences are cut at the
    last one. Without a mask the padding takes part, as in SigLIP, and they keep their full length.
    The last block runs for the pooled places alone.

    Attributes:
        launch_bound: an operation costs more than what it computes, as on a GPU; then few large
            operations are better than many small ones.
    """

    launch_bound = False

    def __init__(self, modules: Any, pool: str, end_id: int | None, tokenizer: Any):
        """Read the modules.

        Args:
            modules: what holds them, a ``CLIP`` or a ``TextTransformer``.
            pool: the place whose output is the feature: argmax (of the ids), eos or last.
            end_id: the end token's id, for eos.
        """
        self.modules: list[nn.Module] = list(modules.transformer.resblocks)
        self.parts = blocks_of(self.modules)  # []: they can only be run whole
        self.width: int = modules.transformer.width
        self.depth = len(self.modules)
        self.context_length: int = modules.context_length
        self.token_embedding: nn.Embedding = modules.token_embedding
        self.positions: Tensor = modules.positional_embedding  # (context length, width)
        self.mask: Tensor | None = modules.attn_mask  # (context length, context length), causal
        self.final_norm: Callable[[Tensor], Tensor] = modules.ln_final
        self.projection: nn.Linear | Tensor | None = modules.text_projection
        self.pool = pool
        self.end_id = end_id if pool == "eos" else None
        self.tokenizer = tokenizer

    @property
    def dim(self) -> int:
        if isinstance(self.projection, nn.Linear):
            return self.projection.out_features
        return self.width if self.projection is None else self.projection.shape[1]

    @cached_property
    def tokens(self) -> Tokens:
        return Tokens(self.tokenizer, self.context_length)

    def sentences(
        self, classnames: Sequence[str], template: str, n_context: int = 0, position: str = "end"
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
        places = torch.tensor(slots, dtype=torch.long, device=device).reshape(len(rows), -1)
        return Sentences(ids, embedded, end, places + self.tokens.start, shared)

    @cached_property
    def is_causal(self) -> bool:
        """Whether the mask hides from each token those after it, and nothing else."""
        if self.mask is None:
            return False
        return torch.equal(self.mask, torch.full_like(self.mask, -torch.inf).triu(1))

    def length(self, ends: list[int]) -> int:
        """Return the length to which sentences with these pooled places are cut."""
        return self.context_length if self.mask is None else max(ends) + 1

    def _end(self, row: list[int]) -> int:
        """Return the pooled place."""
        if self.pool == "last":
            return len(row) - 1
        return row.index(max(row) if self.end_id is None else self.end_id)

    def __call__(self, sentences: Sentences, prompts: Prompts) -> Tensor:
        """Return features ``(classes, dim)``, or ``(batch, classes, dim)`` for prompts by image.

        Raises:
            UserError: the prompts do not fit the sentences or the tower.
        """
        self.check(sentences, prompts)
        return self.features(self._walk(sentences, prompts, prompts.batch or 1), prompts)

    def features(self, pooled: Tensor, prompts: Prompts) -> Tensor:
        """Return features from the last block's output ``(batch, classes, width)``."""
        features = self._project(self.final_norm(pooled))
        return features if prompts.batch is not None else features[0]

    def _walk(self, sentences: Sentences, prompts: Prompts, batch: int) -> Tensor:
        """Return the last block's output ``(batch, classes, width)`` at the pooled places."""
        x = sentences.embedded.expand(batch, -1, -1, -1).flatten(0, 1)  # (rows, length, width)
        if prompts.text is not None:
            x = self._put(x, prompts.text + self.positions_of(sentences), sentences)
        rows, length = x.shape[:2]
        places = sentences.places
        if batch > 1:
            before = torch.arange(0, rows * length, len(sentences) * length, device=x.device)
            places = (before[:, None] + places).flatten()

        def ends(x: Tensor) -> Tensor:
            return x.flatten(0, 1).index_select(0, places)[:, None]  # (rows, 1, width)

        mask = None if self.mask is None else self.mask[:length, :length]
        for index, module in enumerate(self.modules):
            if 0 < index <= len(prompts.deep_text):
                x = self._put(x, prompts.deep_text[index - 1], sentences)
            if not self.parts:
                x = module(x, attn_mask=mask)
            elif index < self.depth - 1:
                x = self.parts[index](x, mask, self.launch_bound and self.is_causal)
            else:
                # (rows, 1, 1, length)
                seen = None if mask is None else mask[sentences.end.repeat(batch)][:, None, None]
                x = self.parts[index].pooled(x, ends, seen)
        x = x if self.parts else ends(x)
        return x.squeeze(1).unflatten(0, (batch, len(sentences)))

    def check(self, sentences: Sentences, prompts: Prompts) -> None:
        """Raise ``UserError`` unless the prompts fit the sentences and the tower."""
        if len(prompts.deep_text) >= self.depth:
            raise UserError(
                f"{len(prompts.deep_text)} deep text prompts, but this backbone's text tower has "
                f"{self.depth - 1} blocks after the first"
            )
        classes, n = sentences.slots.shape
        for vectors in prompts.text_vectors:
            shape = tuple(vectors.shape)
            lead = (prompts.batch or 1, classes)[4 - len(shape) :]
            fits = 2 <= len(shape) <= 4 and shape[-2:] == (n, self.width)
            if not fits or any(a not in (1, b) for a, b in zip(shape[:-2], lead, strict=True)):
                raise UserError(
                    f"a text prompt of shape {shape} does not fit {classes} classes with {n} "
                    f"places of width {self.width}"
                )

    def positions_of(self, sentences: Sentences) -> Tensor:
        """Return position embeddings of the slots, ``(n, width)`` or ``(classes, n, width)``."""
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
            before, _, after = x.split([start, n, x.shape[1] - start - n], dim=1)
            return torch.cat([before, vectors, after], dim=1)
        slots = sentences.slots.repeat(batch, 1)[..., None]
        return x.scatter(1, slots.expand(-1, -1, x.shape[2]), vectors)

    def _project(self, pooled: Tensor) -> Tensor:
        if self.projection is None:
            return pooled
        if isinstance(self.projection, nn.Module):
            return self.projection(pooled)
        return pooled @ self.projection
