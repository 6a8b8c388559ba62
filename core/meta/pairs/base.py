"""The common interface of all sources of captioned pictures, and the report of unusable pairs."""

import hashlib
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image

from softprompt.core.base.errors import UserError
from softprompt.core.base.log import logger
from softprompt.core.data.decoding import Decoding, decode

EXAMPLES = 3  # named in a message for each reason


class Pairs:
    """Base class of captioned pictures; a subclass locates the bytes of a picture.

    Captions are held in memory, pictures are read on demand.

    Attributes:
        decoding: how a picture becomes RGB; meta-training sets it to what its configuration says.
    """

    decoding = Decoding()

    def __init__(self, name: str, captions: Sequence[str], max_skipped: float):
        self.name = name
        self.captions = captions
        self.max_skipped = max_skipped  # the share of pictures that may turn out unreadable

    def __len__(self) -> int:
        return len(self.captions)

    def caption(self, index: int) -> str:
        return self.captions[index]

    def image(self, index: int) -> Image.Image:
        """Return a picture in RGB.

        Raises:
            UserError: it is missing or cannot be decoded.
        """
        return decode(BytesIO(self.data(index)), self.place(index), self.decoding)

    def digest(self, index: int) -> bytes:
        """Return a hash of a picture's content.

        Raises:
            UserError: the picture cannot be read.
        """
        return hashlib.blake2b(self.data(index), digest_size=16).digest()

    def identity(self, index: int) -> bytes:
        """Return bytes that change if the picture or its caption does."""
        return self.digest(index) + self.caption(index).encode()

    def data(self, index: int) -> bytes:
        """Return a picture's encoded bytes.

        Raises:
            UserError: they cannot be read.
        """
        raise TypeError(f"{type(self).__name__} does not define data()")

    def place(self, index: int) -> str:
        """Return the location of a picture, for messages."""
        raise TypeError(f"{type(self).__name__} does not define place()")

    def files(self) -> Sequence[Path]:
        """Return the files that hold the pictures."""
        raise TypeError(f"{type(self).__name__} does not define files()")

    def stamp(self) -> str:
        """Return a hash that changes if pictures or captions do, without reading any picture.

        Files are identified by path, size and modification time.
        """
        lines = hashlib.sha256()
        for file in self.files():
            status = file.stat()
            lines.update(f"{file.absolute()} {status.st_size} {status.st_mtime_ns}\n".encode())
        for caption in self.captions:
            lines.update(caption.encode() + b"\n")
        return lines.hexdigest()


class Skipped:
    """Count the unusable pairs of a source by reason; log them, or stop if they are too many."""

    def __init__(self, source: str, allowed: float):
        """Start at zero.

        Args:
            allowed: the share of all pairs that may be unusable.
        """
        self.source = source
        self.allowed = allowed
        self.examples: dict[str, list[str]] = {}
        self.counts: dict[str, int] = {}

    def add(self, why: str, where: str) -> None:
        """Count an unusable pair, by its reason and its place in the source."""
        self.counts[why] = self.counts.get(why, 0) + 1
        examples = self.examples.setdefault(why, [])
        if len(examples) < EXAMPLES:
            examples.append(where)

    def report(self, total: int) -> None:
        """Log one line for each reason.

        Raises:
            UserError: more than the allowed share of ``total`` pairs is unusable, or all of them.
        """
        bad = sum(self.counts.values())
        if bad > self.allowed * total or bad >= total:
            reasons = "; ".join(
                f"{count} with {self._described(why)}" for why, count in self.counts.items()
            )
            raise UserError(
                f"{self.source}: {bad} of {total} pairs cannot be used, where MAX_SKIPPED allows a "
                f"share of {self.allowed:g}: {reasons}"
            )
        for why, count in self.counts.items():
            logger.warning(
                f"{self.source}: skipped {count} of {total} pairs, with {self._described(why)}"
            )

    def _described(self, why: str) -> str:
        examples = self.examples[why]
        more = ", ..." if self.counts[why] > len(examples) else ""
        return f"{why} ({', '.join(examples)}{more})"
