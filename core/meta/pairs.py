"""Captioned pictures, whatever they are stored in."""

import hashlib
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from softprompt.core.base.errors import UserError, reason


class Pairs:
    """Base class of captioned pictures: a subclass says where a picture's bytes are.

    Captions are held in memory, pictures are read when they are asked for.
    """

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
        return decode(self.data(index), self.place(index))

    def digest(self, index: int) -> bytes:
        """Return a hash of a picture's content; a ``UserError`` where it cannot be read."""
        return hashlib.blake2b(self.data(index), digest_size=16).digest()

    def identity(self, index: int) -> bytes:
        """Return what changes if picture or caption do."""
        return self.digest(index) + self.caption(index).encode()

    def data(self, index: int) -> bytes:
        """Return a picture's encoded bytes; a ``UserError`` where they cannot be read."""
        raise TypeError(f"{type(self).__name__} does not define data()")

    def place(self, index: int) -> str:
        """Return where a picture is, for messages."""
        raise TypeError(f"{type(self).__name__} does not define place()")

    def files(self) -> Sequence[Path]:
        """Return the files that hold the pictures."""
        raise TypeError(f"{type(self).__name__} does not define files()")

    def stamp(self) -> str:
        """Return a hash that changes if pictures or captions do, without reading pictures.

        Files are known by place, size and time of change.
        """
        lines = hashlib.sha256()
        for file in self.files():
            status = file.stat()
            lines.update(f"{file.absolute()} {status.st_size} {status.st_mtime_ns}\n".encode())
        for caption in self.captions:
            lines.update(caption.encode() + b"\n")
        return lines.hexdigest()


class FilePairs(Pairs):
    """Pairs whose pictures are files of their own."""

    def __init__(self, name: str, pictures: list[Path], captions: list[str], max_skipped: float):
        super().__init__(name, captions, max_skipped)
        self.pictures = pictures

    def data(self, index: int) -> bytes:
        try:
            return self.pictures[index].read_bytes()
        except OSError as error:
            raise UserError(f"{self.pictures[index]} cannot be read: {error.strerror}") from None

    def place(self, index: int) -> str:
        return str(self.pictures[index])

    def files(self) -> list[Path]:
        return self.pictures


def decode(data: bytes, place: str) -> Image.Image:
    """Return an encoded picture in RGB; a ``UserError`` with its place if that is impossible."""
    try:
        with Image.open(BytesIO(data)) as image:
            return image.convert("RGB")
    except UnidentifiedImageError:
        raise UserError(f"{place} is no picture, or its beginning is damaged") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"the picture {place} cannot be decoded: {reason(error)}") from None
