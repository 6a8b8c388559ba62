"""Features that were computed before, in memory and in a folder, keyed by all they depend on.

Exact to the bit: a key holds everything that decides a feature, so a stored feature is the one that
would be computed. Slow counterpart: computing it. Any number of processes may use one folder at
once: a file appears whole or not at all, and a removed or damaged one is computed again.
"""

import hashlib
import os
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout
from torch import Tensor

from softprompt.core.base import parallel
from softprompt.core.base.errors import UserError
from softprompt.core.base.files import GIGABYTE
from softprompt.core.clip.fast.tensor_files import read_tensors, write_tensors

SUFFIX = ".safetensors"
MEMORY = GIGABYTE  # bytes of features that are kept in memory as well
ABANDONED = 3600  # seconds after which a half-written file is one of a process that died
CHECKS = 50  # of the folder's size while as much as its limit is written


def applies(folder: str, several: bool) -> bool:
    """Whether features are stored: in a folder if there is one, in memory for several runs.

    Not by several processes: one that found a feature would skip an all_gather that others wait in.
    """
    return parallel.world_size() == 1 and (several or bool(folder))


def key_of(*parts: object) -> str:
    """Return a key for features that depend on these numbers, strings and tuples of them."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


class FeatureStore:
    """A tensor for each key; beyond the limit the least recently used are removed first."""

    def __init__(self, folder: Path | None = None, limit: float = 10.0):
        """Open it.

        Args:
            folder: where the features are kept; None: in memory alone.
            limit: gigabytes that the folder may take.
        """
        self.folder = folder
        self.limit = limit * GIGABYTE
        self._memory: OrderedDict[str, Tensor] = OrderedDict()
        self._in_memory = 0
        self._unchecked = self.limit  # bytes written since the folder's size was checked

    def remembered(
        self, key: str, compute: Callable[[], Tensor], shape: tuple[int, ...] | None = None
    ) -> Tensor:
        """Return the tensor of a key; compute and store it if there is none of that shape."""
        found = self.get(key, shape)
        if found is None:
            found = compute()
            self.put(key, found)
        return found

    def get(self, key: str, shape: tuple[int, ...] | None = None) -> Tensor | None:
        """Return the tensor of a key, on the CPU, or None if there is none of that shape."""
        if key in self._memory:
            self._memory.move_to_end(key)
            return self._memory[key]
        if self.folder is None:
            return None
        file = file_of(self.folder, key)
        stored = read_tensors(file, None if shape is None else {"features": shape})
        if stored is None or "features" not in stored:
            return None
        found = stored["features"]
        with suppress(OSError):  # removed meanwhile
            os.utime(file)  # used now
        self._keep(key, found)
        return found

    def put(self, key: str, features: Tensor) -> None:
        """Store a tensor.

        Raises:
            UserError: the folder cannot be written to.
        """
        features = features.detach().cpu().contiguous()
        self._keep(key, features)
        if self.folder is None:
            return
        file = file_of(self.folder, key)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._unchecked += write_tensors(file, {"features": features})
            if self._unchecked > self.limit / CHECKS:
                self._trim(self.folder)
        except OSError as error:
            raise UserError(f"CACHE.DIR {self.folder} cannot be written to: {error}") from None

    def _keep(self, key: str, features: Tensor) -> None:
        if key in self._memory:
            return
        self._memory[key] = features
        self._in_memory += features.nbytes
        while self._in_memory > MEMORY and len(self._memory) > 1:
            _, dropped = self._memory.popitem(last=False)
            self._in_memory -= dropped.nbytes

    def _trim(self, folder: Path) -> None:
        """Remove the least recently used files until the rest is within the limit."""
        try:
            with FileLock(folder / ".lock", timeout=0):
                self._remove_oldest(folder)
        except Timeout:  # another process does it
            return
        self._unchecked = 0

    def _remove_oldest(self, folder: Path) -> None:
        used, files = 0, []
        for file in folder.glob("??/*"):
            try:
                status = file.stat()
            except FileNotFoundError:  # renamed by its writer
                continue
            if file.suffix == SUFFIX:
                used += status.st_size
                files.append((status.st_mtime, status.st_size, file))
            elif time.time() - status.st_mtime > ABANDONED:
                file.unlink(missing_ok=True)
        for _, size, file in sorted(files):
            if used <= self.limit:
                break
            file.unlink(missing_ok=True)
            used -= size


def file_of(folder: Path, key: str) -> Path:
    return folder / key[:2] / f"{key}{SUFFIX}"
