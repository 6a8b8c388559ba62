"""Sentences, and a walk of them through a causal text tower with prompts put in."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from softprompt.core.errors import UserError
from softprompt.core.prompts.base import Prompts


@dataclass(frozen=True)
class Sentences:
    """One sentence a class, ready for the tower.

    ``embedded`` is ``(classes, length, width)``, positions added; ``end`` ``(classes,)`` is the
    place of the end token, whose output is the sentence's feature; ``slots`` ``(classes, n)`` are
    the places of the context vectors, the same run of places for all where ``shared``.
    """

    ids: Tensor
    embedded: Tensor
    end: Tensor
    slots: Tensor
    shared: bool

    def __len__(self) -> int:
        return len(self.ids)


class TextTower:
    """The text side of an open_clip ``CLIP``: reads its modules, changes nothing."""

    def __init__(self, model: nn.Module, tokenizer):
        self.blocks = model.transformer.resblocks
        self.width = model.transformer.width
        self.depth = len(self.blocks)
        self.context_length = model.context_length
        self.token_embedding = model.token_embedding
        self.positions = model.positional_embedding  # (context length, width)
        self.mask = model.attn_mask  # (context length, context length), causal
        self.final_norm = model.ln_final
        self.projection = model.text_projection
        self.tokenizer = tokenizer

    def sentences(
        self, classnames, template: str, n_context: int = 0, position: str = "end"
    ) -> Sentences:
        """Tokenize ``template`` around each name, with ``n_context`` places for learned vectors.

        Raises:
            UserError: a sentence is longer than the tower's context.
        """
        rows, slots = [], []
        for name in (name.replace("_", " ") for name in classnames):
            tokens = self.tokenizer.encode(template.replace("{}", name))
            context, rest = tokens[:n_context], tokens[n_context:]
            name_tokens = len(self.tokenizer.encode(name))
            before = {"end": n_context, "middle": n_context // 2, "front": 0}[position]
            if before < n_context:  # the name moves in front of (the second half of) the context
                name_part, rest = rest[:name_tokens], rest[name_tokens:]
            else:
                name_part = []
            tokens = context[:before] + name_part + context[before:] + rest
            after = before + len(name_part)
            slots.append([*range(1, 1 + before), *range(1 + after, 1 + after + n_context - before)])
            rows.append([self.tokenizer.sot_token_id, *tokens, self.tokenizer.eot_token_id])
            if len(rows[-1]) > self.context_length:
                raise UserError(
                    f"the sentence for class {name!r} has {len(rows[-1])} tokens with "
                    f"{n_context} context vectors; this backbone reads {self.context_length}"
                )
        return self._embedded(rows, slots, shared=position == "end")

    def _embedded(self, rows: list[list[int]], slots: list[list[int]], shared: bool) -> Sentences:
        device = self.positions.device
        # Under the causal mask nothing after the end token reaches it, so the rest is cut off.
        length = max(map(len, rows))
        ids = torch.tensor([row + [0] * (length - len(row)) for row in rows], device=device)
        with torch.no_grad():
            embedded = self.token_embedding(ids) + self.positions[:length]
        end = torch.tensor([len(row) - 1 for row in rows], device=device)
        slots = torch.tensor(slots, dtype=torch.long, device=device).reshape(len(rows), -1)
        return Sentences(ids, embedded, end, slots, shared)

    def __call__(self, sentences: Sentences, prompts: Prompts) -> Tensor:
        """Return features ``(classes, dim)``, or ``(batch, classes, dim)`` for prompts by image."""
        x = sentences.embedded  # (classes, length, width)
        slots, end, batch = sentences.slots, sentences.end, None
        if prompts.text is not None:
            vectors = prompts.text + self.positions[slots[0] if sentences.shared else slots]
            if prompts.text.dim() == 4:  # (batch, 1 or classes, n, width)
                batch = len(prompts.text)
                vectors = vectors.expand(batch, len(x), -1, -1).flatten(0, 1)
                x = x.expand(batch, -1, -1, -1).flatten(0, 1)
                slots, end = slots.repeat(batch, 1), end.repeat(batch)
            x = _put(x, vectors, slots, sentences.shared)
        mask = self.mask[: x.shape[1], : x.shape[1]]
        for index, block in enumerate(self.blocks):
            if 0 < index <= len(prompts.deep_text):
                vectors = prompts.deep_text[index - 1]
                if vectors.dim() == 4:
                    vectors = vectors.expand(-1, len(sentences), -1, -1).flatten(0, 1)
                x = _put(x, vectors, slots, sentences.shared)
            x = block(x, attn_mask=mask)
        features = self._project(self.final_norm(x[torch.arange(len(x), device=x.device), end]))
        return features if batch is None else features.unflatten(0, (batch, len(sentences)))

    def _project(self, pooled: Tensor) -> Tensor:
        if self.projection is None:
            return pooled
        if isinstance(self.projection, nn.Module):
            return self.projection(pooled)
        return pooled @ self.projection


def _put(x: Tensor, vectors: Tensor, slots: Tensor, shared: bool) -> Tensor:
    """Return ``x`` ``(rows, length, width)`` with ``vectors`` ``(..., n, width)`` at its slots."""
    vectors = vectors.to(x.dtype).expand(len(x), -1, -1)
    if shared:
        return torch.cat([x[:, :1], vectors, x[:, 1 + vectors.shape[1] :]], dim=1)
    return x.scatter(1, slots[..., None].expand(-1, -1, x.shape[2]), vectors)
