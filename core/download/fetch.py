"""Download one file over HTTP: resume after interruptions, verify, and rename when complete."""

import os
import re
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from softprompt.core.base.files import DiskFull, writing_to
from softprompt.core.base.log import logger
from softprompt.core.download.disk import CHUNK, Partial, SourceError, sha256_of

TIMEOUT = (15, 60)  # seconds to connect, and between two chunks
WAITS = (1, 4, 15)  # seconds before the next attempt, after attempts without progress
HEADERS = {
    "User-Agent": "softprompt",
    "Accept-Encoding": "identity",  # else a range counts compressed bytes
}


class _Cut(Exception):
    """The transfer stopped early; the next attempt resumes it."""


class _Unreachable(_Cut):
    """The server did not answer."""


def fetch(url: str, file: Path, sha256: str = "") -> None:
    """Download ``url`` to ``file``, resuming an earlier attempt.

    The bytes are collected in ``file.partial``. They are kept when a run stops, and reused by the
    next one if the server confirms that its file is unchanged, or if ``sha256`` can verify them.

    Raises:
        SourceError: the server lacks the file, keeps failing, or has other content.
        DiskFull: the disk is full; the partial file is kept.
    """
    if file.is_file() and (not sha256 or sha256_of(file) == sha256):
        return
    partial = Partial(file, url, sha256)
    resumed = partial.resumable()[0] > 0
    expected = _complete(partial)
    actual = sha256_of(partial.path) if expected else ""
    if actual != expected and resumed:
        logger.info(f"{file.name}: what was kept belongs to another file; beginning anew")
        partial.drop()
        expected = _complete(partial)
        actual = sha256_of(partial.path) if expected else ""
    if actual != expected:
        partial.drop()
        raise SourceError(f"{url}: the sha256 of the content is {actual}, not {expected}")
    partial.finish()


def _complete(partial: Partial) -> str:
    """Receive all of a file, over as many attempts as make progress; return its sha256."""
    failures, progress = 0, False
    while True:
        before = partial.size()
        try:
            with writing_to(partial.path):
                return _transfer(partial)
        except _Cut as cut:
            received = partial.size() > before
            failures = 0 if received else failures + 1
            progress = progress or received
            waits = WAITS if progress or not isinstance(cut, _Unreachable) else ()
            if failures > len(waits):
                raise SourceError(f"{partial.url}: {cut}") from None
            logger.info(f"{cut}; trying again after {partial.size():,} bytes")
            time.sleep(waits[max(0, failures - 1)])


def _transfer(partial: Partial) -> str:
    """Receive the missing bytes; return the expected sha256, "" if it is unknown."""
    import requests
    from urllib3.exceptions import HTTPError

    offset, validator = partial.resumable()
    headers = dict(HEADERS)
    if offset:
        headers["Range"] = f"bytes={offset}-"
        if validator:
            headers["If-Range"] = validator
    try:
        with requests.get(partial.url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            start, total = _accepted(response, partial, offset, validator)
            if not start:  # else the new note could end up beside old bytes
                partial.drop()
            if not start or start != total:
                partial.remember(_validator(response))
                _check_room(partial, start, total)
                _receive(response, partial.path, start, total)
            return partial.sha256 or _hub_sha256(response)
    except requests.ConnectionError as error:
        raise _Unreachable(_reason(error)) from None
    except (requests.Timeout, HTTPError) as error:
        raise _Cut(_reason(error)) from None
    except (requests.RequestException, UnicodeError) as error:
        raise SourceError(f"{partial.url}: {_reason(error)}") from None


def _accepted(
    response: Any, partial: Partial, offset: int, validator: str
) -> tuple[int, int | None]:
    """Return the offset at which the response continues, and the file's whole size or None.

    Raises:
        SourceError: the server lacks the file.
        _Cut: another attempt may succeed.
    """
    status = response.status_code
    ranges = re.fullmatch(
        r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", response.headers.get("Content-Range", "")
    )
    total = int(ranges[2]) if ranges and ranges[2] != "*" else None
    if status == 200:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdigit() else None
    if status == 416 and total == offset > 0:  # nothing is missing
        return offset, total
    if status in (206, 416):
        current = _validators(response)
        if validator and current and validator not in current:  # some servers ignore If-Range
            partial.drop()
            raise _Cut("the file on the server has changed")
        if status == 206 and ranges and ranges[1] == str(offset):
            return offset, total
        partial.drop()
        raise _Cut(f"the server answered {status} to a request for the rest")
    if status == 429 or status >= 500:
        raise _Cut(f"{status} {response.reason}")
    raise SourceError(f"{partial.url}: {status} {response.reason}")


def _receive(response: Any, path: Path, start: int, total: int | None) -> None:
    from tqdm import tqdm

    with (
        open(path, "r+b" if start else "wb") as opened,
        tqdm(
            total=total,
            initial=start,
            desc=path.name.removesuffix(".partial"),
            unit="B",
            unit_scale=True,
            disable=not sys.stderr.isatty(),
        ) as bar,
    ):
        opened.seek(start)
        opened.truncate()
        # Not decoded: some servers declare the compression of a .tgz as that of the transfer.
        for chunk in response.raw.stream(CHUNK, decode_content=False):
            opened.write(chunk)
            bar.update(len(chunk))
        opened.flush()
        os.fsync(opened.fileno())
        if total is not None and opened.tell() < total:
            raise _Cut("the server closed the connection early")


def _validators(response: Any) -> list[str]:
    """Return the response's strong validators."""
    values = [response.headers.get(name, "") for name in ("ETag", "Last-Modified")]
    return [value for value in values if value and not value.startswith("W/")]


def _validator(response: Any) -> str:
    return next(iter(_validators(response)), "")


def _hub_sha256(response: Any) -> str:
    """Return the sha256 of a large file that Hugging Face states in the redirect, or ""."""
    for step in (*response.history, response):
        value = step.headers.get("X-Linked-ETag", "").strip('"')
        if re.fullmatch(r"[0-9a-f]{64}", value):
            return value
    return ""


def _check_room(partial: Partial, start: int, total: int | None) -> None:
    """Raise ``DiskFull`` if the rest of the file does not fit."""
    free = shutil.disk_usage(partial.path.parent).free
    if total is not None and total - start > free:
        raise DiskFull(
            f"{partial.file.name} needs {total - start:,} bytes more, but {partial.path.parent} "
            f"has {free:,} bytes of free space"
        )


def _reason(error: Exception) -> str:
    """Return the innermost reason of a failed request, without the request itself."""
    cause: BaseException = error
    while inner := cause.__cause__ or cause.__context__:
        cause = inner
    text = (str(cause).splitlines() or [type(cause).__name__])[0]
    return re.sub(r"^\[Errno -?\d+\] ", "", text.rpartition(": ")[2])
