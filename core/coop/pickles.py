"""Unpickle what ``torch.save`` has written without calling any function that it names.

A pickle may name any function of any module to be called. This unpickler calls only the few classes
of this file; whatever else optimizers and schedulers are made of becomes an ``Inert`` object.
"""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from softprompt.core.base.errors import UserError, reason

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
