"""Encode captioned pictures by the frozen CLIP."""

import struct
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from softprompt.core.base.errors import UserError
from softprompt.core.clip.frozen import FrozenCLIP
from softprompt.core.meta.pairs.base import Pairs

FEWEST_TOKENS, MOST_TOKENS = 3, 30  # of a usable caption
Transform = Callable[[Image.Image], Tensor]  # from a picture to (3, height, width)


class _Pictures(Dataset):
    """Preprocessed pictures, None for an unreadable one; loader workers unpickle this."""

    def __init__(self, pairs: Pairs, rows: range, transform: Transform):
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
    transform: Transform,
    *,
    batch_size: int,
    workers: int,
) -> dict[str, Tensor]:
    """Return the features of some pairs, and everything else about them that clustering needs.

    "image" and "text" are ``(rows, dim)``, unit length, fp16, zero for an unreadable picture or an
    unusable caption; "readable" and "tokens" are ``(rows,)``; "digests" and "captions" are packed
    byte strings.
    """
    pictures = _Pictures(pairs, rows, transform)
    loader = DataLoader(pictures, batch_size, num_workers=workers, collate_fn=list)
    columns: dict[str, list[Tensor]] = {"image": [], "text": [], "tokens": [], "readable": []}
    digests: list[bytes] = []
    captions: list[str] = []
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


def packed(values: list[bytes]) -> Tensor:
    """Pack byte strings into one tensor: their number, their lengths, their bytes."""
    lengths = np.array([len(values), *map(len, values)], dtype="<i8").tobytes()
    return torch.frombuffer(bytearray(lengths + b"".join(values)), dtype=torch.uint8)


def unpacked(tensor: Tensor) -> list[bytes]:
    """Return the byte strings that ``packed`` was given."""
    data = tensor.numpy().tobytes()
    (count,) = struct.unpack_from("<q", data)
    lengths = np.frombuffer(data, "<i8", count, offset=8)
    return [data[a:b] for a, b in pairwise(np.cumsum([8 * (count + 1), *lengths]))]


def _encode_captions(clip: FrozenCLIP, captions: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """Return features ``(captions, dim)``, zero for unusable captions, and token counts."""
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
