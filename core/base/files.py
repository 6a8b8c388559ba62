"""Files: the package's own data, and writing a file in one step."""

import os
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

# Everything that is neither code nor configuration: the small CLIP, splits, published numbers.
ASSETS = Path(__file__).resolve().parents[1] / "assets"
CONFIGS = ASSETS.parents[1] / "configs"  # the shipped configurations, beside core
GIGABYTE = 2**30  # bytes


def write_atomically(file: Path, content: bytes | str, *, sync: bool = False) -> None:
    """Write a file beside its place and rename it, so that readers see all of it or nothing.

    Any number of processes may write the same file at once; the last rename wins. The folder must
    exist.

    Args:
        content: text is written as UTF-8, its line ends as they are.
        sync: wait until the content is on the disk before the rename.

    Raises:
        OSError: it cannot be written; the file is what it was, and nothing is left beside it.
    """
    partial = file.with_name(f".{file.name}.{uuid4().hex}.partial")
    try:
        with open(partial, "wb") as opened:
            opened.write(content.encode() if isinstance(content, str) else content)
            if sync:
                opened.flush()
                os.fsync(opened.fileno())
        partial.replace(file)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise
