"""From pictures and captions to their features by the frozen CLIP."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from softprompt.core.base.errors import UserError
from softprompt.core.clip.frozen import FrozenCLIP
from softprompt.core.meta.pairs import Pairs
from softprompt.core.meta.part_files import packed

FEWEST_TOKENS, MOST_TOKENS = 3, 30  # of a caption that is used


class _Pictures(Dataset):
    """Pictures ready for the backbone, None where one cannot be read; what workers unpickle."""

    def __init__(self, pairs: Pairs, rows: range, transform: Callable):
        self.pairs = pairs
        self.rows = rows
        self.transform = transform

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor | None, str, bytes]:
        row = self.rows[index]
        try:
            image, digest = self.transform(self.pairs.image(row)), self.pairs.digest(row)
        except UserError:
            image, digest = None, b""
        return image, self.pairs.caption(row), digest


@torch.no_grad()
def encode_pairs(
    clip: FrozenCLIP,
    pairs: Pairs,
    rows: range,
    transform: Callable,
    *,
    batch_size: int,
    workers: int,
) -> dict[str, Tensor]:
    """Return the features of some pairs, and all else that clustering needs of them.

    "image" and "text" are ``(rows, dim)``, unit length, fp16, zero where a picture cannot be read
    or a caption is not used; "readable" and "tokens" are ``(rows,)``; "digests" and "captions" are
    packed byte strings.
    """
    pictures = _Pictures(pairs, rows, transform)
    loader = DataLoader(pictures, batch_size, num_workers=workers, collate_fn=list)
    columns: dict[str, list] = {"image": [], "text": [], "tokens": [], "readable": []}
    digests, captions = [], []
    for batch in loader:
        images, sentences, hashes = zip(*batch, strict=True)
        readable = torch.tensor([image is not None for image in images])
        image = torch.zeros(len(batch), clip.dim)
        if readable.any():
            stacked = torch.stack([each for each in images if each is not None])
            image[readable] = _unit(clip.encode_image(stacked.to(clip.device)))
        text, tokens = _encode_captions(clip, sentences)
        for name, value in zip(columns, (image.half(), text.half(), tokens, readable), strict=True):
            columns[name].append(value)
        digests += hashes
        captions += sentences
    return {
        **{name: torch.cat(values) for name, values in columns.items()},
        "digests": packed(digests),
        "captions": packed([caption.encode() for caption in captions]),
    }


def _encode_captions(clip: FrozenCLIP, captions: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """Return features ``(captions, dim)``, zero where a caption is not used, and token counts."""
    words = clip.text.tokens.words(list(captions))
    fits = torch.tensor([clip.text.tokens.fit(ids) for ids in words])
    tokens = torch.tensor([len(ids) for ids in words], dtype=torch.int16)
    tokens[~fits] = MOST_TOKENS + 1
    used = (tokens >= FEWEST_TOKENS) & (tokens <= MOST_TOKENS)
    text = torch.zeros(len(captions), clip.dim)
    if used.any():
        sentences = [caption for caption, use in zip(captions, used, strict=True) if use]
        text[used] = _unit(clip.encode_text(clip.sentences(sentences, "{}")))
    return text, tokens


def _unit(features: Tensor) -> Tensor:
    return F.normalize(features, dim=-1).cpu()
