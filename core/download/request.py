"""A request for several datasets: their names, an archive of the user's own, and the downloads."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from softprompt.core.base.errors import UserError, closest
from softprompt.core.base.files import DiskFull
from softprompt.core.base.registry import normalized
from softprompt.core.base.say import complain
from softprompt.core.data.sources import SOURCES, File
from softprompt.core.download.get import get


def datasets_named(words: Sequence[str]) -> list[str]:
    """Return the registry keys of the datasets that ``words`` name; "all" names all of them.

    Raises:
        UserError: there is nothing to download for a word.
    """
    known = list(SOURCES)
    names = [normalized(word) for word in words]
    for name in names:
        if name not in known and name != "all":
            raise UserError(
                f"there is nothing to download for {name!r}{closest(name, known)}; "
                f"name one or more of {', '.join(known)}, or all"
            )
    return known if "all" in names else list(dict.fromkeys(names))


def check_address(address: str, flag: str) -> None:
    """Raise ``UserError`` if what looks like an address is none; a file or "" is left alone."""
    if "://" not in address:
        return
    try:
        parts = urlsplit(address)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # of a port or an IPv6 host
        fits = False
    if not fits:
        raise UserError(f"{flag} {address} is no address such as https://host/file.zip")


def own_archive(url: str, sha256: str = "") -> File | None:
    """Return the user's own archive, an address or a file; None if ``url`` is empty."""
    if not url:
        return None
    # Named by the whole address: the bytes kept of one archive are of no use for another.
    name = f"own-{hashlib.sha256(url.encode()).hexdigest()[:12]}"
    return File(url, name, sha256=sha256.lower())


def get_all(
    names: Sequence[str], root: Path, own: File | None = None, mirror: str = "", make: bool = False
) -> list[str]:
    """Download datasets one after another, and return those that failed; arguments as for ``get``.

    A failure is printed to stderr, and the next dataset is tried.

    Raises:
        DiskFull: no room is left, so that trying the next one is of no use.
    """
    failed = []
    for name in names:
        try:
            get(name, root, own, mirror, make)
        except DiskFull:
            raise
        except UserError as error:
            complain(f"error: {error}")
            failed.append(name)
    if failed and len(names) > 1:
        complain(f"error: not complete: {', '.join(failed)}")
    return failed
