"""Read an official checkpoint without running any code that is pickled in it.

``torch.save`` writes a pickle and storages of raw numbers: as files of a zip archive, or, in the
format before torch 1.6, behind the pickle. Numbers are read on demand, so a checkpoint that
contains all of CLIP costs no more than its prompts.
"""

import re
import struct
import zipfile
from pathlib import Path
from typing import IO, Any, NamedTuple

from softprompt.core.base.errors import UserError, reason
from softprompt.core.coop.pickles import ReadStorage, Storage, Stored, Unpickler

MAGIC = 0x1950A86A20F9469CFC6C  # the first object in a file of the old format


class Checkpoint(NamedTuple):
    """The parts of an official checkpoint that are used here."""

    tensors: dict[str, Stored]  # by official name
    epoch: int | None  # completed epochs


def read_checkpoint(file: Path) -> Checkpoint:
    """Return the tensors of an official checkpoint, their numbers unread, and its epoch.

    Raises:
        UserError: it cannot be read, is no checkpoint, or would run code when opened.
    """
    if not file.is_file():
        raise UserError(f"no such checkpoint: {file}")
    try:
        is_zip = zipfile.is_zipfile(file)
        content, read_storage = _from_archive(file) if is_zip else _from_old_format(file)
    except UserError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        raise UserError(
            f"{file} cannot be read as a checkpoint, a file such as model.pth.tar-50 that "
            f"torch.save wrote: {reason(error)}"
        ) from None
    state = content.get("state_dict", content) if isinstance(content, dict) else {}
    tensors = {}
    for name, value in state.items() if isinstance(state, dict) else ():
        if isinstance(name, str) and isinstance(value, Stored):
            value.file, value.read_storage = file, read_storage
            tensors[name.removeprefix("module.")] = value
    if not tensors:
        raise UserError(f"{file} holds no state_dict of tensors, so it is no official checkpoint")
    return Checkpoint(tensors, _epoch(content, file))


def _epoch(content: Any, file: Path) -> int | None:
    epoch = content.get("epoch")
    if isinstance(epoch, int) and epoch >= 0:
        return epoch
    named = re.search(r"tar-(\d+)$", file.name)
    return int(named[1]) if named else None


def _from_archive(file: Path) -> tuple[Any, ReadStorage]:
    with zipfile.ZipFile(file) as archive:
        names = [name for name in archive.namelist() if name.endswith("data.pkl")]
        if len(names) != 1:
            raise ValueError("the archive holds no data.pkl")
        folder = names[0].removesuffix("data.pkl")
        if f"{folder}byteorder" in archive.namelist():
            if archive.read(f"{folder}byteorder") != b"little":
                raise ValueError("its numbers are big-endian")
        with archive.open(names[0]) as opened:
            content = Unpickler(opened, file).load()

    def read(storage: Storage) -> bytes:
        with zipfile.ZipFile(file) as archive, archive.open(f"{folder}data/{storage.name}") as data:
            return _exactly(data, storage.length * storage.dtype.itemsize)

    return content, read


def _from_old_format(file: Path) -> tuple[Any, ReadStorage]:
    with open(file, "rb") as opened:
        if Unpickler(opened, file).load() != MAGIC:
            raise ValueError("it does not begin as such a file does")
        for _ in range(2):  # the version of the format, and sizes of types where it was written
            Unpickler(opened, file).load()
        unpickler = Unpickler(opened, file)
        content = unpickler.load()
        order = [name for name in Unpickler(opened, file).load() if isinstance(name, str)]
        start = opened.tell()

    def read(wanted: Storage) -> bytes:
        with open(file, "rb") as data:
            data.seek(start)
            for name in order:
                (length,) = struct.unpack("<q", _exactly(data, 8))
                size = length * unpickler.storages[name].dtype.itemsize
                if name == wanted.name:
                    return _exactly(data, size)
                data.seek(size, 1)
        raise ValueError(f"no numbers {wanted.name}")

    return content, read


def _exactly(data: IO[bytes], size: int) -> bytes:
    content = data.read(size)
    if len(content) != size:
        raise ValueError(f"it ends after {len(content)} of {size} bytes")
    return content
