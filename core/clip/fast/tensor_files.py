"""Computed tensors in files that tell whether they are what was written.

A flipped bit in a stored feature would change results without a word, so a file holds a digest of
its tensors. A damaged file counts as missing, and what it held is computed again.
"""

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from softprompt.core.base.errors import reason
from softprompt.core.base.files import write_atomically
from softprompt.core.base.log import logger

DIGEST = "sha256"  # in a file's own metadata
MOST_HEADER = 100_000_000  # bytes, as safetensors itself has it


def write_tensors(file: Path, tensors: Mapping[str, Tensor]) -> int:
    """Write tensors atomically, with their digest; return the bytes of the file.

    Raises:
        OSError: the file cannot be written.
    """
    content = save(dict(tensors), metadata={DIGEST: _digest(tensors)})
    write_atomically(file, content)
    return len(content)


def read_tensors(
    file: Path, shapes: Mapping[str, tuple[int | None, ...]] | None = None
) -> dict[str, Tensor] | None:
    """Return the tensors of a file, or None if it is missing or, as the log then says, damaged.

    Args:
        shapes: of the tensors that there must be; None in a shape: any number.
    """
    try:
        content = file.read_bytes()
        tensors = load(content)
        wrong = _wrong_with(tensors, _metadata(content).get(DIGEST), shapes or {})
        if not wrong:
            return tensors
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, SafetensorError, ValueError, KeyError, struct.error) as error:
        wrong = reason(error)
    logger.warning(f"{file} is damaged ({wrong}), so what it held is computed again")
    return None


def _wrong_with(
    tensors: dict[str, Tensor],
    digest: str | None,
    shapes: Mapping[str, tuple[int | None, ...]],
) -> str:
    """Return what is wrong with the tensors of a file, "" if nothing is.

    Args:
        digest: None in a file of version 0.1, of which only values and shapes can be judged.
    """
    if digest is None:
        for name, value in tensors.items():
            if value.is_floating_point() and not value.isfinite().all():
                return f"{name} is not finite"
    elif digest != _digest(tensors):
        return "its digest is of other content"
    for name, shape in shapes.items():
        found = tuple(tensors[name].shape) if name in tensors else ()
        fits = len(found) == len(shape)
        if not fits or any(n not in (None, size) for n, size in zip(shape, found, strict=True)):
            return f"{name} has the shape {found}, not {shape}"
    return ""


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _metadata(content: bytes) -> dict[str, str]:
    """Return the metadata of a safetensors file, which its own ``load`` leaves out."""
    (length,) = struct.unpack_from("<Q", content)
    if length > MOST_HEADER:
        raise ValueError(f"its header has {length} bytes")
    return json.loads(content[8 : 8 + length]).get("__metadata__") or {}
