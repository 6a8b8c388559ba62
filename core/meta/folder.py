"""Captioned pictures in a folder: beside each picture a .txt of the same name."""

import os
from pathlib import Path

from softprompt.core.base.errors import UserError
from softprompt.core.data.pictures import is_picture
from softprompt.core.meta.pairs import FilePairs
from softprompt.core.meta.skipped import Skipped


def folder_pairs(folder: Path, max_skipped: float) -> FilePairs:
    """Return the pairs in and below a folder; a caption is all of its .txt.

    Raises:
        UserError: there are none, or too many pictures have no caption.
    """
    skipped = Skipped(str(folder), max_skipped)
    pictures, captions, total = [], [], 0
    for parent, folders, names in os.walk(folder):
        folders.sort()
        present = set(names)
        for name in sorted(filter(is_picture, names)):
            total += 1
            picture = Path(parent, name)
            text = picture.with_suffix(".txt")
            where = str(picture.relative_to(folder))
            if text.name not in present:
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
                skipped.add("an empty caption", where)
    if not total:
        raise UserError(
            f"{folder} holds no pictures; a picture such as dog.jpg with its caption in dog.txt, "
            "or webdataset shards (.tar), would do"
        )
    skipped.report(total)
    return FilePairs(str(folder), pictures, captions, max_skipped)
