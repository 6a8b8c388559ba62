"""Read an official checkpoint without running any code that is pickled in it.

``torch.save`` writes a pickle, which may name any function of any module to be called, and storages
of raw numbers: as files of a zip archive, or, in the format before torch 1.6, behind the pickle.
Here the pickle is read by an unpickler that calls only the few classes of this file, and numbers
are read on demand, so a checkpoint that contains all of CLIP costs no more than its prompts.
"""

import pickle
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from softprompt.core.base.errors import UserError, reason

MAGIC = 0x1950A86A20F9469CFC6C  # the first object in a file of the old format
MAX_STEPS = 1_000_000  # opcodes of a pickle; a CLIP and its optimizer have under 100,000
DTYPES = {
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "ShortStorage": torch.int16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "BoolStorage": torch.bool,
}
# The classes of optimizers, schedulers and results, all of which are read as ``Inert``.
PACKAGES = ("torch", "numpy", "dassl", "collections", "copyreg", "copy_reg", "_codecs")
BUILTINS = ("set", "frozenset", "object", "list", "dict", "tuple", "int", "float", "bool")


class Checkpoint(NamedTuple):
    """The parts of an official checkpoint that are used here."""

    tensors: dict[str, "Stored"]  # by official name
    epoch: int | None  # completed epochs


class Inert:
    """Takes the place of an object that is not needed; all operations on it do nothing."""

    def __init__(self, *args, **kwargs):
        pass

    def __new__(cls, *args, **kwargs):
        return super().__new__(cls)

    def __setstate__(self, state):
        pass

    def __setitem__(self, key, value):
        pass

    def add(self, value):
        pass

    def append(self, value):
        pass

    def extend(self, values):
        pass


class Entries(dict):
    """Takes the place of a dict and of an ``OrderedDict``, whose order every dict keeps.

    Its keys are names and numbers: to hash a tuple of tuples a few bytes long can take for ever.
    """

    def __init__(self, pairs=()):
        super().__init__()
        for key, value in pairs:
            self[key] = value

    def __setitem__(self, key, value):
        if not isinstance(key, str | bytes | int | float | None | Inert):
            raise pickle.UnpicklingError(f"a {type(key).__name__} as the name of an entry")
        super().__setitem__(key, value)

    def __setstate__(self, state):
        pass


class Storage(NamedTuple):
    """A storage of numbers: ``name`` is its file in the archive or its key behind the pickle."""

    dtype: torch.dtype
    name: str
    length: int


class Stored:
    """A tensor whose numbers have not been read yet."""

    file: Path
    read_storage: "ReadStorage"
    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def __new__(cls, storage, offset, shape, stride, *rest):
        if not isinstance(storage, Storage):
            raise pickle.UnpicklingError("a tensor without a store of numbers")
        self = super().__new__(cls)
        self.storage = storage
        self.offset = int(offset)
        self.shape = tuple(int(size) for size in shape)
        self.stride = tuple(int(step) for step in stride)
        return self

    def __setstate__(self, state):
        pass

    def read(self) -> Tensor:
        """Return the tensor in fp32.

        Raises:
            UserError: its numbers are missing, cut off or of an unknown type.
        """
        try:
            raw = np.frombuffer(self.read_storage(self.storage), dtype=np.uint8).copy()
            flat = torch.from_numpy(raw).view(self.storage.dtype)
            return flat.as_strided(self.shape, self.stride, self.offset).float().clone()
        except Exception as error:  # zip, torch and the system raise anything
            raise UserError(f"{self.file} is damaged: {reason(error)}") from None


ReadStorage = Callable[[Storage], bytes]


class Opcodes(dict):
    """The functions of a pickle's opcodes, of which a file may use ``MAX_STEPS``."""

    def __init__(self, functions: dict[int, Callable], file: Path):
        super().__init__(functions)
        self.file = file
        self.steps = 0

    def __getitem__(self, opcode: int) -> Callable:
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise UserError(
                f"{self.file} takes more than {MAX_STEPS:,} steps to read, and no checkpoint of "
                "the official code takes nearly as many; it was refused"
            )
        return super().__getitem__(opcode)


class Unpickler(pickle._Unpickler):
    """Read one pickle; refuse it if it names a class that no official checkpoint contains.

    The base class is written in Python, because a few bytes can make the one in C take all memory.
    """

    def __init__(self, opened: IO[bytes], file: Path):
        super().__init__(opened, encoding="latin1")  # Python 2 wrote bytes where text was meant
        self.file = file
        functions = {**super().dispatch, **HASHED}
        self.__dict__["dispatch"] = Opcodes(functions, file)  # the class has another for all
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        package = module.partition(".")[0]
        if (module, name) == ("collections", "OrderedDict"):
            return Entries
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return Stored
        if package == "torch" and name.endswith("Storage"):
            return DTYPES.get(name)
        if package in PACKAGES or package in ("builtins", "__builtin__") and name in BUILTINS:
            return Inert
        raise UserError(
            f"{self.file} would call {module}.{name} when it is opened, which no checkpoint of the "
            "official code does; it was refused and nothing in it was run"
        )

    def persistent_load(self, pid: Any) -> Storage:
        kind, dtype, name, _, length, *view = pid
        if not isinstance(name, str):  # nested tuples could take all memory as text
            raise pickle.UnpicklingError("a store of numbers without a name")
        if kind != "storage" or any(view) or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError(f"a store {name} of unknown numbers")
        return self.storages.setdefault(name, Storage(dtype, name, int(length)))


def _load_empty(unpickler: Any) -> None:
    unpickler.append(Entries())


def _load_dict(unpickler: Any) -> None:
    items = unpickler.pop_mark()
    unpickler.append(Entries(zip(items[::2], items[1::2], strict=True)))


def _load_empty_set(unpickler: Any) -> None:
    unpickler.append(Inert())


def _load_frozen_set(unpickler: Any) -> None:
    unpickler.pop_mark()
    unpickler.append(Inert())


# The opcodes of what hashes its entries, in our way.
HASHED = {
    pickle.EMPTY_DICT[0]: _load_empty,
    pickle.DICT[0]: _load_dict,
    pickle.EMPTY_SET[0]: _load_empty_set,
    pickle.FROZENSET[0]: _load_frozen_set,
}


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
