"""One file over HTTP: resumed after interruptions, checked, and in its place only when complete."""

import os
import re
import shutil
import sys
import time
from pathlib import Path

from softprompt.core.base.log import logger
from softprompt.core.download.disk import (
    CHUNK,
    DiskFull,
    Partial,
    SourceError,
    sha256_of,
    writing_to,
)

TIMEOUT = (15, 60)  # seconds to connect, and between two chunks
WAITS = (1, 4, 15)  # seconds before the next attempt, after attempts that brought nothing
HEADERS = {
    "User-Agent": "softprompt",
    "Accept-Encoding": "identity",  # else a range is one of the compressed bytes
}


class _Cut(Exception):
    """The transfer stopped early; the next attempt goes on."""


class _Unreachable(_Cut):
    """The server did not answer at all."""


def fetch(url: str, file: Path, sha256: str = "") -> None:
    """Download ``url`` to ``file``, going on with what an earlier attempt left.

    The bytes gather in ``file.partial``. They are kept when a run stops, and used by the next one
    if the server confirms that its file is still the same, or if ``sha256`` will tell.

    Raises:
        SourceError: the server does not have it, keeps failing, or its content is another.
        DiskFull: no room is left; the partial file stays.
    """
    if file.is_file() and (not sha256 or sha256_of(file) == sha256):
        return
    partial = Partial(file, url, sha256)
    resumed = partial.resumable()[0] > 0
    expected = _complete(partial)
    found = sha256_of(partial.path) if expected else ""
    if found != expected and resumed:
        logger.info(f"{file.name}: what was kept belongs to another file; beginning anew")
        partial.drop()
        expected = _complete(partial)
        found = sha256_of(partial.path) if expected else ""
    if found != expected:
        partial.drop()
        raise SourceError(f"{url}: the sha256 of the content is {found}, not {expected}")
    partial.finish()


def _complete(partial: Partial) -> str:
    """Receive all of a file, over as many attempts as bring something, and return its sha256."""
    failures, progress = 0, False
    while True:
        before = partial.size()
        try:
            with writing_to(partial.path):
                return _transfer(partial)
        except _Cut as cut:
            brought = partial.size() > before
            failures = 0 if brought else failures + 1
            progress = progress or brought
            waits = WAITS if progress or not isinstance(cut, _Unreachable) else ()
            if failures > len(waits):
                raise SourceError(f"{partial.url}: {cut}") from None
            logger.info(f"{cut}; trying again after {partial.size():,} bytes")
            time.sleep(waits[max(0, failures - 1)])


def _transfer(partial: Partial) -> str:
    """Receive what is missing and return the sha256 to expect, or "" if nobody knows it."""
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
            if not start:  # else a note on new bytes could come to stand beside old ones
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


def _accepted(response, partial: Partial, offset: int, validator: str) -> tuple[int, int | None]:
    """Return from which byte on the response fills the file, and the file's whole size or None.

    Raises:
        SourceError: the server does not have the file.
        _Cut: it may answer otherwise next time.
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
        found = _validators(response)
        if validator and found and validator not in found:  # some servers ignore If-Range
            partial.drop()
            raise _Cut("the file on the server has changed")
        if status == 206 and ranges and ranges[1] == str(offset):
            return offset, total
        partial.drop()
        raise _Cut(f"the server answered {status} to a request for the rest")
    if status == 429 or status >= 500:
        raise _Cut(f"{status} {response.reason}")
    raise SourceError(f"{partial.url}: {status} {response.reason}")


def _receive(response, path: Path, start: int, total: int | None) -> None:
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
        # Not decoded: some servers call the compression of a .tgz that of the transfer.
        for chunk in response.raw.stream(CHUNK, decode_content=False):
            opened.write(chunk)
            bar.update(len(chunk))
        opened.flush()
        os.fsync(opened.fileno())
        if total is not None and opened.tell() < total:
            raise _Cut("the server closed the connection early")


def _validators(response) -> list[str]:
    found = [response.headers.get(name, "") for name in ("ETag", "Last-Modified")]
    return [value for value in found if value and not value.startswith("W/")]


def _validator(response) -> str:
    return next(iter(_validators(response)), "")


def _hub_sha256(response) -> str:
    """Return the sha256 that Hugging Face states of a large file, in the answer that redirects."""
    for step in (*response.history, response):
        value = step.headers.get("X-Linked-ETag", "").strip('"')
        if re.fullmatch(r"[0-9a-f]{64}", value):
            return value
    return ""


def _check_room(partial: Partial, start: int, total: int | None) -> None:
    free = shutil.disk_usage(partial.path.parent).free
    if total is not None and total - start > free:
        raise DiskFull(
            f"{partial.file.name} needs {total - start:,} bytes more, but {partial.path.parent} "
            f"has {free:,} bytes of free space"
        )


def _reason(error: Exception) -> str:
    """The innermost reason of a failed request, without the request itself."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__
    text = (str(error).splitlines() or [type(error).__name__])[0]
    return re.sub(r"^\[Errno -?\d+\] ", "", text.rpartition(": ")[2])
