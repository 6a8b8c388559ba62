"""CLIP once more, as plainly as its papers have it: the oracle of the tests.

It shares no line with the package: weights are a dict under OpenAI's names, attention is written
out. Sentences are not padded, as the text tower's mask lets no token see what comes after it.
"""

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor


class PlainCLIP:
    """The two towers of a model of OpenAI's kind, with prompts written into their blocks."""

    def __init__(self, weights: dict[str, Tensor], text_heads: int, image_heads: int):
        self.weights = weights
        self.text_heads = text_heads
        self.image_heads = image_heads
        self.scale = weights["logit_scale"].exp()
        self.text_width = weights["positional_embedding"].shape[1]
        self.image_width = weights["visual.class_embedding"].shape[0]
        self.dim = weights["text_projection"].shape[1]

    def text(self, sentences: list[Tensor], deep: tuple[Tensor, ...] = ()) -> Tensor:
        """Return features ``(classes, dim)`` of embedded sentences ``(tokens, width)``.

        ``deep`` are the prompts ``(n, width)`` of the second and further blocks, which take the
        places after the start token.
        """
        found: dict[int, Tensor] = {}
        for length in {len(rows) for rows in sentences}:
            alike = [i for i, rows in enumerate(sentences) if len(rows) == length]
            x = torch.stack([sentences[i] for i in alike])
            x = x + self.weights["positional_embedding"][:length]
            causal = torch.full((length, length), -math.inf).triu(1)
            for index in range(self.blocks("transformer")):
                if 0 < index <= len(deep):
                    prompt = deep[index - 1].expand(len(x), -1, -1)
                    x = torch.cat([x[:, :1], prompt, x[:, 1 + prompt.shape[1] :]], dim=1)
                x = self.block(x, f"transformer.resblocks.{index}", self.text_heads, causal)
            ends = self.norm(x[:, -1], "ln_final") @ self.weights["text_projection"]
            found |= dict(zip(alike, ends, strict=True))
        return torch.stack([found[i] for i in range(len(sentences))])

    def image(self, images: Tensor, prompts: tuple[Tensor, ...] = ()) -> Tensor:
        """Return features ``(batch, dim)``; ``prompts`` are those ``(n, width)`` of each block."""
        weights = self.weights
        kernel = weights["visual.conv1.weight"]
        x = F.conv2d(images, kernel, stride=kernel.shape[-1]).flatten(2).transpose(1, 2)
        start = weights["visual.class_embedding"].expand(len(x), 1, -1)
        x = torch.cat([start, x], dim=1) + weights["visual.positional_embedding"]
        kept = x.shape[1]
        if prompts:
            x = torch.cat([x, prompts[0].expand(len(x), -1, -1)], dim=1)
        x = self.norm(x, "visual.ln_pre")
        for index in range(self.blocks("visual.transformer")):
            if 0 < index < len(prompts):
                x = torch.cat([x[:, :kept], prompts[index].expand(len(x), -1, -1)], dim=1)
            x = self.block(x, f"visual.transformer.resblocks.{index}", self.image_heads)
        return self.norm(x[:, 0], "visual.ln_post") @ weights["visual.proj"]

    def blocks(self, tower: str) -> int:
        return sum(
            name.startswith(f"{tower}.") and name.endswith("ln_1.bias") for name in self.weights
        )

    def norm(self, x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        unit = centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()
        return unit * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def linear(self, x: Tensor, name: str, join: str = ".") -> Tensor:
        return x @ self.weights[f"{name}{join}weight"].T + self.weights[f"{name}{join}bias"]

    def block(self, x: Tensor, name: str, heads: int, mask: Tensor | None = None) -> Tensor:
        """One residual block on ``(batch, tokens, width)``."""
        batch, tokens, width = x.shape
        joined = self.linear(self.norm(x, f"{name}.ln_1"), f"{name}.attn.in_proj", "_")
        q, k, v = (
            part.reshape(batch, tokens, heads, width // heads).transpose(1, 2)
            for part in joined.chunk(3, dim=-1)
        )
        scores = q @ k.transpose(-2, -1) / math.sqrt(width // heads)
        scores = scores if mask is None else scores + mask
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, tokens, width)
        x = x + self.linear(mixed, f"{name}.attn.out_proj")
        hidden = self.linear(self.norm(x, f"{name}.ln_2"), f"{name}.mlp.c_fc")
        return x + self.linear(hidden * torch.sigmoid(1.702 * hidden), f"{name}.mlp.c_proj")

    def embedded(
        self, phrase: str, name: str, context: Tensor | None = None, position: str = "end"
    ) -> Tensor:
        """Return the rows ``(tokens, width)`` of "phrase name.", its first words replaced.

        ``context`` ``(n, width)`` takes the places of the first n tokens of ``phrase``, before,
        around or after the name.
        """
        name = name.replace("_", " ")
        rows = self.weights["token_embedding.weight"][tokens_of(f"{phrase} {name}.")]
        if context is None:
            return rows
        start, rest = rows[:1], rows[1 + len(context) :]
        if position == "end":
            return torch.cat([start, context, rest])
        own = len(tokens_of(name)) - 2
        before = 0 if position == "front" else len(context) // 2
        return torch.cat([start, context[:before], rest[:own], context[before:], rest[own:]])


@functools.cache
def tokens_of(sentence: str) -> list[int]:
    """The token ids of a sentence, start and end token included, without padding."""
    ids = tokenizer()([sentence])[0].tolist()
    return ids[: ids.index(max(ids)) + 1]


@functools.cache
def tokenizer():
    import open_clip

    return open_clip.get_tokenizer("ViT-B-16")


def unit(x: Tensor) -> Tensor:
    return x / x.pow(2).sum(-1, keepdim=True).sqrt()
