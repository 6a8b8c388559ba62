"""Downloaded files: errors of sources, checksums, and partial downloads."""

import hashlib
import json
from pathlib import Path

from softprompt.core.base.errors import UserError
from softprompt.core.base.files import publish, write_atomically

CHUNK = 1 << 20


class SourceError(UserError):
    """This source fails; another one may not."""


def sha256_of(file: Path) -> str:
    """Return the sha256 of a file in hex digits."""
    digest = hashlib.sha256()
    with open(file, "rb") as opened:
        while chunk := opened.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


class Partial:
    """The bytes of an unfinished download, and a JSON note of their origin beside them."""

    def __init__(self, file: Path, url: str, sha256: str):
        self.file = file
        self.url = url
        self.sha256 = sha256
        self.path = file.with_name(f"{file.name}.partial")
        self._note = file.with_name(f"{file.name}.partial.json")

    def size(self) -> int:
        """Return how many bytes are there."""
        return self.path.stat().st_size if self.path.is_file() else 0

    def resumable(self) -> tuple[int, str]:
        """Return how many bytes can be reused, and the validator that the server must confirm."""
        try:
            note = json.loads(self._note.read_text(encoding="utf-8"))
            url, validator, sha256 = note["url"], note["validator"], note["sha256"]
        except (OSError, ValueError, KeyError, TypeError):
            return 0, ""
        if url == self.url and validator:
            return self.size(), validator
        same = bool(self.sha256) and sha256 == self.sha256
        return (self.size() if same else 0), ""

    def remember(self, validator: str) -> None:
        """Write the note: address, hash, and the server's validator of its content."""
        note = {"url": self.url, "validator": validator, "sha256": self.sha256}
        write_atomically(self._note, json.dumps(note))

    def drop(self) -> None:
        """Remove bytes and note."""
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def finish(self) -> None:
        """Rename the complete bytes to the file."""
        publish(self.path, self.file)
        self._note.unlink(missing_ok=True)
