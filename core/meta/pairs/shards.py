"""Captioned pictures in webdataset shards: tar files of samples, ``key.jpg`` and ``key.txt``."""

import json
import os
import tarfile
from array import array
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from softprompt.core.base.errors import UserError
from softprompt.core.data.pictures import SUFFIXES
from softprompt.core.meta.pairs.base import Pairs, Skipped

PICTURES = tuple(suffix.removeprefix(".") for suffix in sorted(SUFFIXES))


class ShardPairs(Pairs):
    """Captioned pictures in uncompressed tar files, read in place; nothing is unpacked.

    https://github.com/webdataset/webdataset defines how files form samples. Its own reader only
    streams, but tasks need single pictures in any order, so the shards are read through once for
    the captions and for the offset of each picture's bytes: 24 bytes a pair beside the caption.
    """

    def __init__(self, source: str, shards: list[Path], max_skipped: float):
        """Read the captions of all shards, in order.

        Raises:
            UserError: a file is no tar, or too many samples lack a picture or a caption.
        """
        self._captions: list[str] = []
        super().__init__(source, self._captions, max_skipped)
        self.skipped = skipped = Skipped(source, max_skipped)
        self.shards = shards
        self._shard, self._offset, self._size = array("q"), array("q"), array("q")
        total = 0
        for number, shard in enumerate(shards):
            for sample in _samples(shard, skipped):
                total += 1
                self._add(number, shard, sample)
        if not total:
            raise UserError(f"{source} holds no samples such as 000.jpg with 000.txt")
        skipped.report(total)

    def _add(self, number: int, shard: Path, sample: dict[str, Any]) -> None:
        where = f"{shard.name}: {sample['__key__']}"
        picture = next((sample[suffix] for suffix in PICTURES if suffix in sample), None)
        if picture is None:
            self.skipped.add("no picture", where)
            return
        caption = _caption(shard, sample)
        if caption is None:
            self.skipped.add("no caption in a .txt or .json", where)
        elif not caption:
            self.skipped.add("an empty caption", where)
        else:
            self._captions.append(caption)
            self._shard.append(number)
            self._offset.append(picture.offset_data)
            self._size.append(picture.size)

    def data(self, index: int) -> bytes:
        return _read(self.shards[self._shard[index]], self._offset[index], self._size[index])

    def place(self, index: int) -> str:
        return f"number {index} in {self.shards[self._shard[index]]}"

    def files(self) -> list[Path]:
        return self.shards


def find_shards(source: str) -> list[Path]:
    """Return the tar files in a folder, or those of a pattern such as ``cc3m-{0000..0331}.tar``.

    Raises:
        UserError: one of them is missing.
    """
    if os.path.isdir(source):
        return sorted(file for file in Path(source).glob("*.tar") if file.is_file())
    shards = [Path(name) for name in _library().shardlists.expand_urls(source)]
    missing = [shard for shard in shards if not shard.is_file()]
    if missing:
        raise UserError(
            f"{source}: {len(missing)} of {len(shards)} shards are missing, such as {missing[0]}"
        )
    return shards


def _samples(shard: Path, skipped: Skipped) -> Iterator[dict[str, Any]]:
    """Yield webdataset's samples, with tar entries in place of the files' contents."""

    def members() -> Iterator[dict[str, Any]]:
        with tarfile.open(shard, "r:") as opened:
            for member in opened:
                if member.isreg() and not member.name.startswith("__"):
                    yield {"fname": member.name, "data": member, "__url__": str(shard)}
                opened.members = []  # type: ignore[attr-defined]  # else all headers stay in memory

    def bad(error: Exception) -> bool:
        skipped.add("a broken sample", f"{shard.name}: {error.args[0]}")
        return True

    try:
        yield from _library().tariterators.group_by_keys(members(), handler=bad)
    except (tarfile.TarError, OSError) as error:
        raise UserError(
            f"{shard} cannot be read as an uncompressed tar ({error}); fetch it again or leave it "
            "out"
        ) from None


def _caption(shard: Path, sample: dict[str, Any]) -> str | None:
    """Return the caption of a sample, None if it has none that can be read."""
    for suffix in ("txt", "json"):
        if suffix not in sample:
            continue
        member = sample[suffix]
        text = _read(shard, member.offset_data, member.size).decode(errors="replace")
        if suffix == "json":
            try:
                text = str(json.loads(text).get("caption") or "")
            except (ValueError, AttributeError):
                return None
        return " ".join(text.split())
    return None


def _read(shard: Path, offset: int, size: int) -> bytes:
    try:
        with open(shard, "rb") as opened:
            opened.seek(offset)
            return opened.read(size)
    except OSError as error:
        raise UserError(f"{shard} cannot be read: {error.strerror}") from None


def _library() -> ModuleType:
    try:
        import webdataset.shardlists
        import webdataset.tariterators
    except ImportError:
        raise UserError(
            'tar shards need the package webdataset: pip install "softprompt[webdataset]"'
        ) from None
    return webdataset
