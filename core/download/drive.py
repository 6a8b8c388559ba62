"""Download one file from Google Drive with gdown."""

import sys
from pathlib import Path

from softprompt.core.base.files import publish, writing_to
from softprompt.core.download.disk import SourceError, sha256_of

SCHEME = "drive:"


def fetch_drive(identity: str, file: Path, sha256: str = "") -> None:
    """Download the file of this id to ``file``; gdown resumes the partial file of an earlier run.

    Raises:
        SourceError: Drive refuses, as it does after too many downloads of the file in a day.
        DiskFull: the disk is full; the partial file is kept.
    """
    import gdown

    if file.is_file() and (not sha256 or sha256_of(file) == sha256):
        return
    link = f"https://drive.google.com/uc?id={identity}"
    arrived = file.with_name(f"{file.name}.drive")
    with writing_to(file):
        try:
            quiet = not sys.stderr.isatty()
            done = gdown.download(id=identity, output=str(arrived), resume=True, quiet=quiet)
        except Exception as error:  # gdown's own, requests', and more in older versions
            if isinstance(error, OSError) and error.errno:
                raise
            reason = " ".join(str(error).split()) or type(error).__name__
            raise SourceError(f"{link}: gdown: {reason[:200]}") from None
        if done is None:  # older versions return this instead of raising
            raise SourceError(f"{link}: gdown could not download it")
        if sha256 and sha256_of(arrived) != sha256:
            found = sha256_of(arrived)
            arrived.unlink()
            raise SourceError(f"{link}: the sha256 of the content is {found}, not {sha256}")
        publish(arrived, file)
