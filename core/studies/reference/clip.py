"""The frozen CLIP as the official code runs it."""

import torch
from torch import Tensor

from softprompt.core.clip.fast.chunked import encode_text_chunked
from softprompt.core.clip.fast.ragged import RaggedSentences
from softprompt.core.clip.frozen import NOTHING, FrozenCLIP
from softprompt.core.clip.images import Images
from softprompt.core.clip.towers.pick import text_tower
from softprompt.core.clip.towers.text import Sentences, TextTower
from softprompt.core.clip.towers.vision import NativeVisionTower
from softprompt.core.clip.towers.walk import at_least_single
from softprompt.core.prompts.base import Prompts


class ReferenceCLIP(FrozenCLIP):
    """Sentences of full length, each for itself; every pass on its own; every block for all tokens.

    It shares the weights of another instance, and costs what the official code costs.
    """

    def __init__(self, clip: FrozenCLIP):
        super().__init__(
            clip.model,
            clip.text.tokenizer,
            name=clip.name,
            weights=clip.weights,
            precision=clip.precision,
            memory_limit=float("inf"),
            onednn="off",
            device=clip.device,
            launch_bound=False,
        )
        self.text = text_tower(clip.model, clip.text.tokenizer, ReferenceText)
        if isinstance(self.image, NativeVisionTower):
            self.image.blocks = list(self.image.visual.transformer.resblocks)
            self.image.pooled_block = None

    def encode_image(self, images: Tensor, prompts: Prompts = NOTHING) -> Tensor:
        with self._precision():
            return at_least_single(self.image(images, prompts))

    def unprompted(self, images: Images) -> Tensor:
        return self.encode_image(images.images)

    def encode_text(self, sentences: RaggedSentences, prompts: Prompts = NOTHING) -> Tensor:
        def encode(sentences: Sentences, prompts: Prompts) -> Tensor:
            with self._precision():
                return at_least_single(self.text(sentences, prompts))

        return encode_text_chunked(self.memory_limit, encode, self.text, sentences, prompts)


class ReferenceText(TextTower):
    """The text tower on all of its context length, one image's prompts after another's."""

    def length(self, ends: list[int]) -> int:
        return self.context_length

    def __call__(self, sentences: Sentences, prompts: Prompts) -> Tensor:
        if prompts.batch is None:
            return self._encoded(sentences, prompts)
        by_image = [
            prompts.text_only().map(lambda v, i=i: v[i] if v.dim() == 4 else v)
            for i in range(prompts.batch)
        ]
        return torch.stack([self._encoded(sentences, prompts) for prompts in by_image])

    def _encoded(self, sentences: Sentences, prompts: Prompts) -> Tensor:
        x = sentences.embedded  # (classes, context length, width)
        rows = torch.arange(len(x), device=x.device)
        if prompts.text is not None:
            x = self._written(x, prompts.text + self.positions[sentences.slots], sentences.slots)
        for index, module in enumerate(self.modules):
            if 0 < index <= len(prompts.deep_text):
                x = self._written(x, prompts.deep_text[index - 1], sentences.slots)
            x = module(x, attn_mask=self.mask)
        return self._project(self.final_norm(x))[rows, sentences.end]

    def _written(self, x: Tensor, vectors: Tensor, slots: Tensor) -> Tensor:
        """Return ``x`` with ``vectors`` ``(..., n, width)`` in the slots ``(classes, n)``."""
        x = x.clone()
        x[torch.arange(len(x), device=x.device)[:, None], slots] = vectors.to(x.dtype)
        return x
