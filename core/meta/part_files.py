"""Files of features: tensors and byte strings, written whole or not at all."""

import os
import struct
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor


def packed(values: list[bytes]) -> Tensor:
    """Byte strings as one tensor: their number, their lengths, their bytes."""
    lengths = np.array([len(values), *map(len, values)], dtype="<i8").tobytes()
    return torch.frombuffer(bytearray(lengths + b"".join(values)), dtype=torch.uint8)


def unpacked(tensor: Tensor) -> list[bytes]:
    """The byte strings of ``packed``."""
    data = tensor.numpy().tobytes()
    (count,) = struct.unpack_from("<q", data)
    lengths = np.frombuffer(data, "<i8", count, offset=8)
    return [data[a:b] for a, b in pairwise(np.cumsum([8 * (count + 1), *lengths]))]


def save_part(part: dict[str, Tensor], file: Path) -> None:
    save_file(part, partial := _partial(file))
    partial.replace(file)


def load_part(file: Path) -> dict[str, Tensor] | None:
    """Return a part, or None where there is no whole one."""
    try:
        return load_file(file) if file.is_file() else None
    except (OSError, SafetensorError):
        return None


def write_whole(text: str, file: Path) -> None:
    (partial := _partial(file)).write_text(text, encoding="utf-8")
    partial.replace(file)


def _partial(file: Path) -> Path:
    return file.with_name(f".{file.name}.{os.getpid()}")
