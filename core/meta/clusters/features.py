"""Features of captioned pictures by the frozen CLIP, computed once and cached on disk."""

import hashlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from softprompt.core.base.errors import UserError
from softprompt.core.base.files import write_atomically, writing_to
from softprompt.core.base.log import logger
from softprompt.core.clip.fast.tensor_files import read_tensors, write_tensors
from softprompt.core.clip.fingerprint import weights_fingerprint
from softprompt.core.clip.frozen import FrozenCLIP
from softprompt.core.data.decoding import Decoding
from softprompt.core.meta.clusters.encode import MOST_TOKENS, Transform, encode_pairs, unpacked
from softprompt.core.meta.pairs.base import Pairs, Skipped

PART = 4096  # pairs in a file: the most that an interruption can cost


@dataclass(frozen=True)
class PairFeatures:
    """The features of all pairs, of unit length, fp16."""

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
    transform: Transform,
    folder: Path,
    *,
    batch_size: int = 100,
    workers: int = 0,
) -> PairFeatures:
    """Return the features of all pairs, from the files in ``folder`` as far as it has them.

    A file is named by the hash of its pictures, captions and backbone, so changed or added pairs
    are computed anew and others are not, and an interrupted run continues. Its name ends with the
    frozen CLIP's fingerprint: another machine or version of a package computes features of its
    own. Files of earlier versions lack that ending and are read by any machine.

    Args:
        transform: from a picture to the backbone's input ``(3, height, width)``.
        workers: processes that read pictures; 0: the main one does.

    A file that is damaged is computed again.

    Raises:
        UserError: more pictures cannot be read than ``pairs`` allows, or the folder cannot be
            written to.
    """
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
    # Files of earlier versions are of the usual way to decode, which is therefore no part.
    decoding = () if pairs.decoding == Decoding() else (pairs.decoding,)
    backbone = hash_of(
        weights_fingerprint(clip.model), clip.precision, repr(transform), MOST_TOKENS, *decoding
    )
    # While no file has changed, the index saves reading all pictures for their hashes.
    index = folder / f"pairs-{hash_of(backbone, pairs.stamp())}.json"
    known = _known_keys(index, -(-len(pairs) // PART))
    keys, parts, unreadable = [], [], 0
    for number, start in enumerate(range(0, len(pairs), PART)):
        rows = range(start, min(start + PART, len(pairs)))
        key = known[number] if known else ""
        part = _cached_part(folder, key, clip, len(rows)) if key else None
        if part is None:
            key = hash_of(backbone, *(_identity(pairs, row) for row in rows))
            part = _cached_part(folder, key, clip, len(rows))
        if part is None:
            logger.info(f"features of {pairs.name}: pairs {start + 1} to {rows[-1] + 1}")
            part = encode_pairs(
                clip, pairs, rows, transform, batch_size=batch_size, workers=workers
            )
            with writing_to(folder):
                write_tensors(_file(folder, key, clip), part)
        keys.append(key)
        parts.append(part)
        unreadable += int((~part["readable"]).sum())
        if unreadable > pairs.max_skipped * len(pairs):
            break  # too many already; the report raises
    _report(pairs, parts)
    with writing_to(folder):
        write_atomically(index, json.dumps(keys))
    image, text, tokens = (
        torch.cat([part[name] for part in parts]) for name in ("image", "text", "tokens")
    )
    return PairFeatures(
        image,
        text,
        tokens,
        pictures=[digest for part in parts for digest in unpacked(part["digests"])],
        captions=[text.decode() for part in parts for text in unpacked(part["captions"])],
        key=hash_of(*keys),
    )


def hash_of(*values: object) -> str:
    """Return 32 hex digits that depend on each value and on where one ends and the next begins."""
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


def _known_keys(index: Path, parts: int) -> list[str]:
    """Return the keys of all parts that an index holds, or [] if it is missing or damaged."""
    try:
        found = json.loads(index.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, ValueError, RecursionError):
        found = None
    if isinstance(found, list) and len(found) == parts and all(isinstance(k, str) for k in found):
        return found
    logger.warning(f"{index} is damaged, so all pictures are read once more")
    return []


def _cached_part(folder: Path, key: str, clip: FrozenCLIP, rows: int) -> dict[str, Tensor] | None:
    """Return what is known of so many pairs, or None."""
    shapes = {"image": (rows, clip.dim), "text": (rows, clip.dim), "tokens": (rows,)}
    shapes |= {"readable": (rows,), "digests": (None,), "captions": (None,)}
    for file in (_file(folder, key, clip), folder / f"features-{key}.safetensors"):
        part = read_tensors(file, shapes)
        if part is not None and _holds(part, rows):
            return part
    return None


def _holds(part: dict[str, Tensor], rows: int) -> bool:
    """Whether the packed texts of a part, which its shapes say nothing of, are of so many pairs."""
    try:
        texts = [unpacked(part[name]) for name in ("digests", "captions")]
    except (struct.error, ValueError):
        return False
    return all(len(each) == rows for each in texts)


def _file(folder: Path, key: str, clip: FrozenCLIP) -> Path:
    return folder / f"features-{key}-{clip.fingerprint[:16]}.safetensors"
