"""The one frozen CLIP that student, zero-shot teacher and evaluation share."""

from collections.abc import Sequence
from contextlib import nullcontext
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from softprompt.core.clip.fast.chunked import encode_images_chunked, encode_text_chunked
from softprompt.core.clip.fast.onednn import packs
from softprompt.core.clip.fast.sharded import encode_images_sharded, encode_text_sharded
from softprompt.core.clip.fast.store import FeatureStore, key_of
from softprompt.core.clip.fingerprint import model_fingerprint
from softprompt.core.clip.images import Images
from softprompt.core.clip.towers.block import packed_bytes
from softprompt.core.clip.towers.pick import image_tower, text_tower
from softprompt.core.clip.towers.text import Sentences
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
        tokenizer,
        *,
        name: str = "",
        weights: str = "random",
        precision: str = "fp32",
        memory_limit: float = 4.0,
        packed: str = "auto",
        device: str | torch.device = "cpu",
    ):
        """Freeze ``model`` on ``device``.

        A SigLIP model's ``logit_bias`` is left out: the same number on every class's logit changes
        neither the softmax nor the ranking.

        Args:
            name: the backbone's name, as checkpoints and results state it.
            weights: where its weights come from; "random" if nowhere.
            precision: arithmetic inside the towers: fp32, bf16 or fp16 (autocast).
            memory_limit: gigabytes that each tower may keep for backward passes.
            packed: multiply by oneDNN, "on", "off" or "auto"; see ``towers/linear.py``.

        Raises:
            UserError: the model has a tower that cannot be run exactly with prompts.
        """
        self.model = model.eval().requires_grad_(False).to(device)
        self.name = name
        self.weights = weights
        self.precision = precision
        self.memory_limit = memory_limit
        self.device = torch.device(device)
        self.packed = precision == "fp32" and packs(packed)
        self.text = text_tower(self.model, tokenizer, self.packed)
        self.image = image_tower(self.model.visual, self.packed)
        self.logit_scale = self.model.logit_scale.detach().exp().item()
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
    def packed_bytes(self) -> int:
        """What the copies of weights laid out for oneDNN take."""
        towers = (self.text, self.image)
        return sum(packed_bytes(getattr(tower, "blocks", None) or []) for tower in towers)

    @property
    def image_size(self) -> tuple[int, int]:
        size = self.model.visual.image_size
        return tuple(size) if isinstance(size, tuple | list) else (size, size)

    def encode_image(self, images: Tensor, prompts: Prompts = NOTHING) -> Tensor:
        """Return features ``(batch, dim)``, not normalized, fp32."""

        def encode(images: Tensor, prompts: Prompts) -> Tensor:
            with self._precision():
                return at_least_single(self.image(images, prompts))

        def encode_own(images: Tensor, prompts: Prompts) -> Tensor:
            return encode_images_chunked(self.memory_limit, encode, self.image, images, prompts)

        return encode_images_sharded(encode_own, images, prompts)

    def unprompted(self, images: Images) -> Tensor:
        """Return features ``(batch, dim)`` without prompts, which ``images`` remember."""
        return images.unprompted(self, lambda: self.encode_image(images.images))

    def encode_text(self, sentences: Sentences, prompts: Prompts = NOTHING) -> Tensor:
        """Return features ``(classes, dim)`` or ``(batch, classes, dim)``, not normalized, fp32."""

        def encode(sentences: Sentences, prompts: Prompts) -> Tensor:
            with self._precision():
                return at_least_single(self.text(sentences, prompts))

        def encode_own(sentences: Sentences, prompts: Prompts) -> Tensor:
            return encode_text_chunked(self.memory_limit, encode, self.text, sentences, prompts)

        return encode_text_sharded(encode_own, sentences, prompts)

    def sentences(
        self, classnames, template: str, n_context: int = 0, position: str = "end"
    ) -> Sentences:
        return self.text.sentences(classnames, template, n_context, position)

    def embed_words(self, words: str) -> Tensor:
        """Return the token embeddings ``(tokens, width)`` of some words, without positions."""
        (ids,) = self.text.tokens.words([words])
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
                    key_of("text", self.fingerprint, self.memory_limit, *key), encode
                )
            self._class_features[key] = found.to(self.device)
        return self._class_features[key]

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all that features depend on beside pictures and sentences."""
        return model_fingerprint(self)

    @torch.no_grad()
    def encode_in_chunks(self, classnames, template: str) -> Tensor:
        classnames = list(classnames)
        chunks = [classnames[i : i + CHUNK] for i in range(0, len(classnames), CHUNK)]
        return torch.cat([self.encode_text(self.sentences(chunk, template)) for chunk in chunks])

    @torch.no_grad()
    def unprompted_error(self) -> float:
        """Return how far the towers without prompts are from the model's own encoders.

        It is the largest relative difference on one noise image and one sentence, in fp32: rounding
        if the modules are put together as the installed open_clip and timm do it.
        """
        words = "a photo of a {}."
        ids = self.text.tokenizer([words.format("dog")], self.text.context_length)
        pairs = [
            (
                self.text(self.sentences(("dog",), words), NOTHING),
                self.model.encode_text(ids.to(self.device)),
            )
        ]
        if self.image_depth:
            generator = torch.Generator().manual_seed(0)
            images = torch.randn(1, 3, *self.image_size, generator=generator).to(self.device)
            pairs.append((self.image(images, NOTHING), self.model.encode_image(images)))
        return max(((ours - own).abs().max() / own.abs().max()).item() for ours, own in pairs)

    def _precision(self):
        dtype = PRECISIONS[self.precision]
        if dtype is None:
            # Also inside somebody's autocast, fp32 means fp32.
            if not torch.is_autocast_enabled(self.device.type):
                return nullcontext()
            return torch.autocast(self.device.type, enabled=False)
        return torch.autocast(self.device.type, dtype=dtype)
