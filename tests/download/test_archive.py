"""Unpacking archives that are damaged, or meant to do harm."""

import gzip
import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from softprompt.core.base.errors import UserError
from softprompt.core.download import archive
from softprompt.core.download.archive import ArchiveError, unpack

FILES = {"a/1.jpg": b"one" * 100, "a/b/2.jpg": b"two" * 100, "3.txt": b""}


def tar(file: Path, entries: dict[str, bytes | tarfile.TarInfo]) -> Path:
    mode = {"gz": "w:gz", "bz2": "w:bz2", "xz": "w:xz"}.get(file.suffix[1:], "w")
    with tarfile.open(file, mode) as opened:
        for name, content in entries.items():
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
            opened.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return file


def zipped(file: Path, entries: dict[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in entries.items():
            opened.writestr(name, content)
    return file


def write(file: Path, entries: dict) -> Path:
    return (zipped if file.suffix == ".zip" else tar)(file, entries)


def contents(folder: Path) -> dict[str, bytes]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def refused(file: Path, message: str, **limits) -> None:
    """Check that unpacking says ``message`` in one line and leaves nothing anywhere."""
    around = sorted(file.parent.rglob("*"))
    with pytest.raises(ArchiveError, match=message) as error:
        unpack(file, file.parent / "out", **limits)
    assert "\n" not in str(error.value)
    assert sorted(file.parent.rglob("*")) == around


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz", "x.tar.bz2", "x.tar.xz"])
def test_unpack(name, tmp_path):
    unpack(write(tmp_path / name, FILES), tmp_path / "out")
    assert contents(tmp_path / "out") == FILES


def test_neither_suffix_nor_permissions_count(tmp_path):
    info = tarfile.TarInfo("program")
    info.mode = 0o6777
    tar(tmp_path / "x.tar", {"program": info, **FILES}).rename(tmp_path / "x")
    unpack(tmp_path / "x", tmp_path / "out")
    assert not os.stat(tmp_path / "out" / "program").st_mode & 0o7111
    zipped(tmp_path / "y.zip", FILES).rename(tmp_path / "y")
    unpack(tmp_path / "y", tmp_path / "out2")
    assert contents(tmp_path / "out2") == FILES


@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz"])
@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/tmp/evil", "..\\evil", "C:\\evil"])
def test_entries_outside(name, suffix, tmp_path):
    (tmp_path / "deep").mkdir()
    file = write(tmp_path / "deep" / f"x.{suffix}", {**FILES, name: b"evil"})
    refused(file, "which would land elsewhere")
    assert not Path("/tmp/evil").exists()


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE],
    ids=["symlink", "hard link", "fifo", "character device", "block device"],
)
def test_links_and_devices_in_a_tar(kind, tmp_path):
    info = tarfile.TarInfo("a/link")
    info.type, info.linkname = kind, "/etc"
    entries = {"1.jpg": b"one", "a/link": info, "a/link/passwd": b"evil"}
    refused(tar(tmp_path / "x.tar", entries), "'a/link', a link or a device")


def test_links_in_a_zip(tmp_path):
    info = zipfile.ZipInfo("a/link")
    info.external_attr = 0o120777 << 16
    refused(zipped(tmp_path / "x.zip", {info: b"/etc"}), "'a/link', a link or a device")


def test_an_encrypted_zip(tmp_path):
    file = zipped(tmp_path / "x.zip", {"a": b"secret"})
    content = bytearray(file.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1  # flags of the central directory's entry
    file.write_bytes(content)
    refused(file, "'a', which is encrypted")


@pytest.mark.parametrize("suffix", ["zip", "tar.gz", "tar.xz"])
def test_a_bomb(suffix, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "UNSUSPICIOUS", 1_000_000)
    file = write(tmp_path / f"x.{suffix}", {"a.jpg": bytes(800_000), "b.jpg": bytes(800_000)})
    assert file.stat().st_size < 10_000
    refused(file, "unpacks to more than 1,000,000 bytes")
    monkeypatch.setattr(archive, "UNSUSPICIOUS", 1_600_000)
    unpack(file, tmp_path / "out")


def test_a_bomb_beyond_every_size(tmp_path):
    """A header may state any size; it is not believed to fit."""
    info = tarfile.TarInfo("a.jpg")
    info.size = 500_000_000_000
    file = tmp_path / "x.tar"
    file.write_bytes(info.tobuf() + bytes(1024))
    refused(file, "unpacks to more than 100,000,000 bytes")
    with pytest.raises(ArchiveError, match="more than 5 bytes"):
        unpack(zipped(tmp_path / "y.zip", FILES), tmp_path / "out", most_bytes=5)


def test_a_bomb_of_files(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MOST_FILES", 2)
    refused(write(tmp_path / "x.tar", FILES), "holds more than 2 files")


@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.85])  # a tar ends in blanks
def test_truncated(suffix, share, tmp_path):
    file = write(tmp_path / f"x.{suffix}", {f"{i}.jpg": os.urandom(3000) for i in range(20)})
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    refused(file, "damaged|cut off")


def test_a_tar_cut_between_two_entries(tmp_path):
    file = tar(tmp_path / "x.tar", {"1.jpg": b"a" * 512, "2.jpg": b"b" * 512})
    file.write_bytes(file.read_bytes()[:1024])
    refused(file, "is cut off")


@pytest.mark.parametrize(
    "content",
    [b"<html>Sign in</html>", gzip.compress(b"no tar"), b"PK"],
    ids=["a page", "gzip", "the start of a zip"],
)
def test_something_else(content, tmp_path):
    (tmp_path / "x.zip").write_bytes(content)
    refused(tmp_path / "x.zip", "damaged, or no archive")


def test_a_flipped_bit(tmp_path):
    file = zipped(tmp_path / "x.zip", {"a.jpg": os.urandom(5000)})
    content = bytearray(file.read_bytes())
    content[2500] ^= 1
    file.write_bytes(content)
    refused(file, "damaged, or no archive")


def test_a_file_where_a_folder_must_be(tmp_path):
    refused(tar(tmp_path / "x.tar", {"a": b"file", "a/b": b"x"}), "a file and a folder named")


def test_names_that_the_disk_cannot_hold(tmp_path):
    file = tar(tmp_path / "x.tar", {"a" * 300: b"x"})
    with pytest.raises(UserError, match="cannot write .*: File name too long"):
        unpack(file, tmp_path / "out")
    assert not (tmp_path / "out").exists()
