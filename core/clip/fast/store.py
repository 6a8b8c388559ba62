"""Features that were computed before, in memory and in a folder, by all that they depend on.

A key says everything that decides a feature, so what is found under it is what would be computed.
Any number of processes may use one folder at once: a file appears whole or not at all, and one
that has gone meanwhile, or is damaged, is computed again.
"""

import hashlib
import os
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from softprompt.core.base.errors import UserError

SUFFIX = ".safetensors"
GIGABYTE = 2**30
MEMORY = GIGABYTE  # bytes that also stay in memory
ABANDONED = 3600  # seconds after which a half-written file is one of a process that died
CHECKS = 50  # how often the folder's size is looked at while it is written once over


def key_of(*parts) -> str:
    """Return a name for tensors that these numbers, texts and tuples of them decide."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def read_tensors(file: Path) -> dict[str, Tensor] | None:
    """Return the tensors of a safetensors file, or None where there is no whole one."""
    try:
        return load(file.read_bytes())
    except (OSError, SafetensorError):
        return None


class FeatureStore:
    """A tensor for each key; the least recently used ones go first where space is short."""

    def __init__(self, folder: Path | None = None, limit: float = 10.0):
        """Open it.

        Args:
            folder: where the features stand; None: in memory alone.
            limit: gigabytes that the folder may take.
        """
        self.folder = folder
        self.limit = limit * GIGABYTE
        self._memory: OrderedDict[str, Tensor] = OrderedDict()
        self._in_memory = 0
        self._unchecked = self.limit  # bytes written since the folder's size was looked at

    def remembered(self, key: str, compute: Callable[[], Tensor]) -> Tensor:
        """Return what stands under a key, or else compute it and put it there."""
        found = self.get(key)
        if found is None:
            found = compute()
            self.put(key, found)
        return found

    def get(self, key: str) -> Tensor | None:
        """Return what stands under a key, on the CPU, or None."""
        if key in self._memory:
            self._memory.move_to_end(key)
            return self._memory[key]
        if self.folder is None:
            return None
        file = self._file(key)
        found = (read_tensors(file) or {}).get("features")
        if found is None:
            return None
        with suppress(OSError):  # removed meanwhile
            os.utime(file)  # used now
        self._keep(key, found)
        return found

    def put(self, key: str, features: Tensor) -> None:
        """Put a tensor under a key.

        Raises:
            UserError: the folder cannot be written to.
        """
        features = features.detach().cpu().contiguous()
        self._keep(key, features)
        if self.folder is None:
            return
        content = save({"features": features})
        file = self._file(key)
        partial = file.with_suffix(f".{uuid4().hex}.partial")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(content)
            partial.replace(file)
            self._unchecked += len(content)
            if self._unchecked > self.limit / CHECKS:
                self._trim()
        except OSError as error:
            raise UserError(f"CACHE.DIR {self.folder} cannot be written to: {error}") from None

    def _file(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}{SUFFIX}"

    def _keep(self, key: str, features: Tensor) -> None:
        if key in self._memory:
            return
        self._memory[key] = features
        self._in_memory += features.nbytes
        while self._in_memory > MEMORY and len(self._memory) > 1:
            _, dropped = self._memory.popitem(last=False)
            self._in_memory -= dropped.nbytes

    def _trim(self) -> None:
        """Remove the files that were not used for longest, until the rest fits."""
        try:
            with FileLock(self.folder / ".lock", timeout=0):
                self._remove_oldest()
        except Timeout:  # another process is at it
            return
        self._unchecked = 0

    def _remove_oldest(self) -> None:
        used, files = 0, []
        for file in self.folder.glob("??/*"):
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
