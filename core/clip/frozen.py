"""The one frozen CLIP that student, zero-shot teacher and evaluation share."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from softprompt.core.base.errors import UserError
from softprompt.core.clip.fast.chunked import encode_images_chunked, encode_text_chunked
from softprompt.core.clip.fast.onednn import applies as onednn_applies
from softprompt.core.clip.fast.onednn import prepacked_bytes, use_onednn
from softprompt.core.clip.fast.ragged import RaggedSentences, encode_text_ragged
from softprompt.core.clip.fast.second_order import unit, use_second_order
from softprompt.core.clip.fast.sharded import encode_images_sharded, encode_text_sharded
from softprompt.core.clip.fast.store import FeatureStore, key_of
from softprompt.core.clip.fingerprint import model_fingerprint
from softprompt.core.clip.images import Images
from softprompt.core.clip.towers.pick import image_tower, text_tower
from softprompt.core.clip.towers.walk import at_least_single
from softprompt.core.prompts.base import Prompts

NOTHING = Prompts()
PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
CHUNK = 256  # sentences encoded at once where no gradient is needed


class FrozenCLIP:
    """An open_clip model that is only read: no training, no copies, no per-method variants.

    It is deliberately no ``nn.Module``: a model that holds it gets none of its weights in
    ``parameters()``, ``state_dict()`` or a checkpoint.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        *,
        name: str = "",
        weights: str = "random",
        precision: str = "fp32",
        memory_limit: float = 4.0,
        onednn: str = "auto",
        device: str | torch.device = "cpu",
        caution: str = "",
        launch_bound: bool | None = None,
    ):
        """Freeze ``model`` on ``device``.

        A SigLIP model's ``logit_bias`` is left out: the same number on every class's logit changes
        neither the softmax nor the ranking.

        Args:
            tokenizer: open_clip's, ``tokenizer(texts, context_length)``.
            name: the backbone's name for checkpoints and results.
            weights: where its weights come from; "random" if nowhere.
            precision: arithmetic inside the towers: fp32, bf16 or fp16 (autocast).
            memory_limit: gigabytes that each tower may keep for backward passes.
            onednn: multiply by oneDNN, "on", "off" or "auto"; see ``fast/onednn.py``.
            caution: what a reader of its numbers must know; "": nothing.
            launch_bound: prefer few large operations to little computing; None: off a CPU.

        Raises:
            UserError: the model has a tower that cannot be run exactly with prompts.
        """
        self.model: Any = model.eval().requires_grad_(False).to(device)
        self.name = name
        self.weights = weights
        self.caution = caution
        self.precision = precision
        self.memory_limit = memory_limit
        self.device = torch.device(device)
        self.text = text_tower(self.model, tokenizer)
        self.image = image_tower(self.model.visual)
        self.launch_bound = self.device.type != "cpu" if launch_bound is None else launch_bound
        self.text.launch_bound = self.image.launch_bound = self.launch_bound
        if self.launch_bound:
            use_second_order(self.text, self.image)
        self.onednn = onednn_applies(onednn, precision, self.device)
        if self.onednn:
            use_onednn([*self.text.parts, *self.image.parts])
        self.logit_scale: float = self.model.logit_scale.detach().exp().item()
        self._class_features: dict[tuple, Tensor] = {}

    @property
    def text_width(self) -> int:
        return self.text.width

    @property
    def text_depth(self) -> int:
        return self.text.depth

    @property
    def image_width(self) -> int:
        """Width of image prompts; a ``UserError`` where the tower takes none."""
        return self.image.width

    @property
    def image_depth(self) -> int:
        """Blocks of the image tower that take prompts, 0 where none does."""
        return self.image.depth

    @property
    def dim(self) -> int:
        """Width of the features that images and texts share."""
        return self.text.dim

    @property
    def onednn_bytes(self) -> int:
        """Bytes of the copies of weights that oneDNN has laid out so far."""
        return prepacked_bytes([*self.text.parts, *self.image.parts])

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images that the image tower reads."""
        size = self.model.visual.image_size
        height, width = size if isinstance(size, tuple | list) else (size, size)
        return height, width

    def encode_image(self, images: Tensor, prompts: Prompts = NOTHING) -> Tensor:
        """Return features ``(batch, dim)``, not normalized, fp32.

        Raises:
            UserError: the pictures have not been read, because nothing was said to need them.
        """
        if images.is_meta:
            raise UserError(
                "these pictures were not read, because their features without prompts are known "
                "(CACHE.DIR); a prompt learner that needs them says needs_images = True"
            )

        def encode(images: Tensor, prompts: Prompts) -> Tensor:
            with self._precision():
                return at_least_single(self.image(images, prompts))

        def encode_own(images: Tensor, prompts: Prompts) -> Tensor:
            return encode_images_chunked(self.memory_limit, encode, self.image, images, prompts)

        return encode_images_sharded(encode_own, images, prompts)

    def unprompted(self, images: Images) -> Tensor:
        """Return features ``(batch, dim)`` without prompts, which ``images`` remember."""
        return images.unprompted(self, lambda: self.encode_image(images.images))

    def unit(self, features: Tensor) -> Tensor:
        """Return features ``(..., dim)`` at length 1."""
        return unit(features) if self.launch_bound else F.normalize(features, dim=-1)

    def encode_text(self, sentences: RaggedSentences, prompts: Prompts = NOTHING) -> Tensor:
        """Return features ``(classes, dim)`` or ``(batch, classes, dim)``, not normalized, fp32."""

        def encode(sentences: RaggedSentences, prompts: Prompts) -> Tensor:
            with self._precision():
                return at_least_single(encode_text_ragged(self.text, sentences, prompts))

        def encode_own(sentences: RaggedSentences, prompts: Prompts) -> Tensor:
            return encode_text_chunked(self.memory_limit, encode, self.text, sentences, prompts)

        return encode_text_sharded(encode_own, sentences, prompts)

    def sentences(
        self, classnames: Sequence[str], template: str, n_context: int = 0, position: str = "end"
    ) -> RaggedSentences:
        """Tokenize ``template`` around each name; see ``TextTower.sentences``."""
        sentences = self.text.sentences(classnames, template, n_context, position)
        return RaggedSentences.of(sentences)

    def embed_words(self, words: str) -> Tensor:
        """Return the token embeddings ``(tokens, width)`` of some words, without positions.

        Raises:
            UserError: the tokenizer finds no word in them.
        """
        (ids,) = self.text.tokens.words([words])
        if not ids:
            raise UserError(
                f"the text {words!r} holds no word; CTX_INIT takes some, or none at all"
            )
        return self.text.token_embedding(torch.tensor(ids, device=self.device)).detach()

    @torch.no_grad()
    def class_features(
        self,
        classnames: Sequence[str],
        templates: Sequence[str],
        *,
        unit: bool = False,
        store: FeatureStore | None = None,
    ) -> Tensor:
        """Return one feature ``(classes, dim)`` a class: the mean over hand-written templates.

        They are computed once for each set of names and templates.

        Args:
            unit: give each template's feature length 1 before the mean, as in CLIP's own ensemble;
                else the mean is of features as they are, as in PromptSRC and ProMetaR.
            store: where to look for the features before they are computed.
        """
        key = (tuple(classnames), tuple(templates), unit)

        def encode() -> Tensor:
            each = (self.encode_in_chunks(classnames, template) for template in templates)
            each = (F.normalize(features, dim=-1) if unit else features for features in each)
            return sum(each, torch.zeros(())) / len(templates)

        if key not in self._class_features:
            if store is None:
                found = encode()
            else:
                found = store.remembered(
                    key_of("text", self.fingerprint, self.memory_limit, *key),
                    encode,
                    (len(classnames), self.dim),
                )
            self._class_features[key] = found.to(self.device)
        return self._class_features[key]

    @cached_property
    def fingerprint(self) -> str:
        """A hash of everything that features depend on besides images and sentences."""
        return model_fingerprint(self)

    @torch.no_grad()
    def encode_in_chunks(self, classnames: Sequence[str], template: str) -> Tensor:
        """Return features ``(classes, dim)`` of a hand-written template around the names."""
        classnames = list(classnames)
        chunks = [classnames[i : i + CHUNK] for i in range(0, len(classnames), CHUNK)]
        return torch.cat([self.encode_text(self.sentences(chunk, template)) for chunk in chunks])

    @torch.no_grad()
    def unprompted_error(self) -> float:
        """Return how far the unprompted towers are from the model's own encoders.

        It is the largest relative difference on one noise image and one sentence, in fp32: rounding
        if the modules are put together as the installed open_clip and timm do it.
        """
        words = "a photo of a {}."
        ids = self.text.tokenizer([words.format("dog")], self.text.context_length)
        pairs = [
            (
                encode_text_ragged(self.text, self.sentences(("dog",), words), NOTHING),
                self.model.encode_text(ids.to(self.device)),
            )
        ]
        if self.image_depth:
            generator = torch.Generator().manual_seed(0)
            images = torch.randn(1, 3, *self.image_size, generator=generator).to(self.device)
            pairs.append((self.image(images, NOTHING), self.model.encode_image(images)))
        return max(((ours - own).abs().max() / own.abs().max()).item() for ours, own in pairs)

    def _precision(self) -> AbstractContextManager:
        dtype = PRECISIONS[self.precision]
        if dtype is None:
            # Also inside somebody's autocast, fp32 means fp32.
            if not torch.is_autocast_enabled(self.device.type):
                return nullcontext()
            return torch.autocast(self.device.type, enabled=False)
        return torch.autocast(self.device.type, dtype=dtype)
