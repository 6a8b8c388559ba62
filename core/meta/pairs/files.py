"""Captioned pictures in files of their own, with captions in one listing or in a .txt beside each.

A listing is a CSV, TSV or JSON-lines file of paths and captions.
"""

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path

from softprompt.core.base.errors import UserError
from softprompt.core.data.dataset import check_inside
from softprompt.core.data.pictures import is_picture, walk
from softprompt.core.meta.pairs.base import Pairs, Skipped

SUFFIXES = (".csv", ".tsv", ".jsonl")
# the column names of open_clip, Hugging Face and img2dataset
PATH_NAMES = (
    *("path", "filepath", "file_path", "file_name", "filename", "file", "image_path"),
    "image",
)
CAPTION_NAMES = ("caption", "text", "title", "sentence")

NO_COLUMNS = "another number of columns (a caption with the separator in it needs quotes)"
NO_FIELDS = "no JSON object of path and caption"
NO_CAPTION = "an empty caption"
NO_PICTURE = "no such picture file"


class FilePairs(Pairs):
    """Captioned pictures, one file each."""

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


def listed_pairs(file: Path, max_skipped: float) -> FilePairs:
    """Return the pairs of a listing; its paths are relative to its folder and stay in it.

    A first line with known column names (path, caption; filepath, title; file_name, text ...)
    selects the columns; without one the file has two, path and caption.

    Raises:
        UserError: the file cannot be read, names a picture outside of its folder, or too many of
            its lines are unusable.
    """
    skipped = Skipped(str(file), max_skipped)
    pictures, captions, total = [], [], 0
    folders: dict[Path, set[str]] = {}
    try:
        for number, row in _rows(file):
            total += 1
            where = f"line {number}"
            if row is None:
                skipped.add(NO_FIELDS if file.suffix.lower() == ".jsonl" else NO_COLUMNS, where)
                continue
            path, caption = row
            if not caption.strip():
                skipped.add(NO_CAPTION, where)
                continue
            check_inside(file.parent, [path.strip()], file)
            if not _exists(picture := file.parent / path.strip(), folders):
                skipped.add(NO_PICTURE, f"{where}: {path.strip() or 'an empty path'}")
            else:
                pictures.append(picture)
                captions.append(" ".join(caption.split()))
    except UnicodeDecodeError:
        raise UserError(f"{file} is no UTF-8 text; save it as UTF-8") from None
    except (OSError, csv.Error) as error:
        raise UserError(f"{file} cannot be read: {error}") from None
    if not total:
        raise UserError(f"{file} lists no pairs; a line each is needed: a path and a caption")
    skipped.report(total)
    return FilePairs(str(file), pictures, captions, max_skipped)


def folder_pairs(folder: Path, max_skipped: float) -> FilePairs:
    """Return the pairs in and below a folder; the caption of dog.jpg is the text of dog.txt.

    Raises:
        UserError: it holds no pictures, or too many of them have no caption.
    """
    skipped = Skipped(str(folder), max_skipped)
    pictures, captions, total = [], [], 0
    for parent, folders, names in walk(folder):
        folders.sort()
        present = set(names)
        for name in sorted(filter(is_picture, names)):
            total += 1
            picture = parent / name
            text = picture.with_suffix(".txt")
            where = str(picture.relative_to(folder))
            if not picture.is_file():
                skipped.add(NO_PICTURE, where)
                continue
            if text.name not in present or not text.is_file():
                skipped.add("no .txt of the same name", where)
                continue
            try:
                caption = " ".join(text.read_text(encoding="utf-8-sig").split())
            except (OSError, UnicodeDecodeError):
                skipped.add("a .txt that is no UTF-8 text", where)
                continue
            if caption:
                pictures.append(picture)
                captions.append(caption)
            else:
                skipped.add(NO_CAPTION, where)
    if not total:
        raise UserError(
            f"{folder} holds no pictures; a picture such as dog.jpg with its caption in dog.txt, "
            "or webdataset shards (.tar), would do"
        )
    skipped.report(total)
    return FilePairs(str(folder), pictures, captions, max_skipped)


def _rows(file: Path) -> Iterator[tuple[int, tuple[str, str] | None]]:
    """Yield line number and (path, caption), or None for a line without these two."""
    with file.open(encoding="utf-8-sig", newline="") as opened:
        if file.suffix.lower() == ".jsonl":
            for number, line in enumerate(opened, 1):
                if line.strip():
                    yield number, _fields(line)
            return
        reader = csv.reader(opened, delimiter="\t" if file.suffix.lower() == ".tsv" else ",")
        width, columns = 2, (0, 1)
        for index, row in enumerate(row for row in reader if row):
            if index == 0 and (named := _columns(row)):
                width, columns = len(row), named
            elif len(row) != width:
                yield reader.line_num, None
            else:
                yield reader.line_num, (row[columns[0]], row[columns[1]])


def _columns(row: list[str]) -> tuple[int, int] | None:
    """Return the positions of path and caption in a header line, None if it is no header."""
    names = [cell.strip().lower() for cell in row]
    path = next((names.index(name) for name in PATH_NAMES if name in names), None)
    caption = next((names.index(name) for name in CAPTION_NAMES if name in names), None)
    return None if path is None or caption is None else (path, caption)


def _fields(line: str) -> tuple[str, str] | None:
    """Return path and caption of a JSON line, None if it has no such two."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    if not isinstance(found, dict):
        return None
    path = next((found[name] for name in PATH_NAMES if name in found), None)
    caption = next((found[name] for name in CAPTION_NAMES if name in found), None)
    return (path, caption) if isinstance(path, str) and isinstance(caption, str) else None


def _exists(picture: Path, folders: dict[Path, set[str]]) -> bool:
    """Return True if the file exists; one listing a folder is faster for millions of files."""
    if picture.parent not in folders:
        try:
            with os.scandir(picture.parent) as entries:
                folders[picture.parent] = {entry.name for entry in entries if entry.is_file()}
        except OSError:
            folders[picture.parent] = set()
    return picture.name in folders[picture.parent]
