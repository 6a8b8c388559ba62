"""Features of captioned pictures by the frozen CLIP, computed once and kept on disk."""

import hashlib
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from softprompt.core.base.errors import UserError
from softprompt.core.base.log import logger
from softprompt.core.clip.fingerprint import weights_fingerprint
from softprompt.core.clip.frozen import FrozenCLIP
from softprompt.core.meta.encode import MOST_TOKENS, encode_pairs
from softprompt.core.meta.pairs import Pairs
from softprompt.core.meta.part_files import load_part, save_part, unpacked, write_whole
from softprompt.core.meta.skipped import Skipped

PART = 4096  # pairs a file: what an interruption can cost


@dataclass(frozen=True)
class PairFeatures:
    """What the frozen CLIP makes of all pairs; features are of unit length, fp16."""

    image: Tensor  # (pairs, dim), zero where the picture cannot be read
    text: Tensor  # (pairs, dim), zero where the caption is too short or too long
    tokens: Tensor  # (pairs,), in a caption
    pictures: list[bytes]  # hash of each picture, empty where it cannot be read
    captions: list[str]
    key: str  # hash of pictures, captions and backbone

    def __len__(self) -> int:
        return len(self.captions)


def cached_features(
    clip: FrozenCLIP,
    pairs: Pairs,
    transform: Callable,
    folder: Path,
    *,
    batch_size: int = 100,
    workers: int = 0,
) -> PairFeatures:
    """Return the features of all pairs, from files in ``folder`` as far as it has them.

    A file is named by the hash of the pictures, captions and backbone that it was made from, so
    changed or added pairs are computed anew and others are not, and an interrupted run goes on.

    Args:
        transform: from a picture to the backbone's input ``(3, height, width)``.
        workers: processes that read pictures; 0: the main one does.

    Raises:
        UserError: more pictures cannot be read than ``pairs`` allows.
    """
    folder.mkdir(parents=True, exist_ok=True)
    backbone = fingerprint(clip, transform)
    # spares reading all pictures for their hashes where no file has changed
    index = folder / f"pairs-{hash_of(backbone, pairs.stamp())}.json"
    known = json.loads(index.read_text()) if index.is_file() else []
    keys, parts, unreadable = [], [], 0
    for number, start in enumerate(range(0, len(pairs), PART)):
        rows = range(start, min(start + PART, len(pairs)))
        key = known[number] if known else ""
        part = load_part(_file(folder, key))
        if part is None:
            key = hash_of(backbone, *(_identity(pairs, row) for row in rows))
            part = load_part(_file(folder, key))
        if part is None:
            logger.info(f"features of {pairs.name}: pairs {start + 1} to {rows[-1] + 1}")
            part = encode_pairs(
                clip, pairs, rows, transform, batch_size=batch_size, workers=workers
            )
            save_part(part, _file(folder, key))
        keys.append(key)
        parts.append(part)
        unreadable += int((~part["readable"]).sum())
        if unreadable > pairs.max_skipped * len(pairs):
            break  # too many already, as the report says
    _report(pairs, parts)
    write_whole(json.dumps(keys), index)
    tensors = {
        name: torch.cat([part[name] for part in parts]) for name in ("image", "text", "tokens")
    }
    return PairFeatures(
        **tensors,
        pictures=[digest for part in parts for digest in unpacked(part["digests"])],
        captions=[text.decode() for part in parts for text in unpacked(part["captions"])],
        key=hash_of(*keys),
    )


def fingerprint(clip: FrozenCLIP, transform: Callable) -> str:
    """Return a hash of all that features depend on, but for the pairs."""
    weights = weights_fingerprint(clip.model)
    return hash_of(weights, clip.precision, repr(transform), MOST_TOKENS)


def hash_of(*values) -> str:
    digest = hashlib.sha256()
    for value in values:
        data = value if isinstance(value, bytes) else str(value).encode()
        digest.update(struct.pack("<q", len(data)) + data)
    return digest.hexdigest()[:32]


def _identity(pairs: Pairs, row: int) -> bytes:
    try:
        return pairs.identity(row)
    except UserError:
        return b"unreadable"


def _report(pairs: Pairs, parts: list[dict[str, Tensor]]) -> None:
    skipped = Skipped(pairs.name, pairs.max_skipped)
    readable = torch.cat([part["readable"] for part in parts])
    for row in torch.nonzero(~readable).flatten().tolist():
        skipped.add("a picture that cannot be read", pairs.place(row))
    skipped.report(len(pairs))


def _file(folder: Path, key: str) -> Path:
    return folder / f"features-{key}.safetensors"
