"""Captioned pictures from listings, folders, shards and the drawing code, and what is wrong."""

import hashlib
import io
import json
import os
import tarfile

import pytest
from PIL import Image

from softprompt.core import UserError
from softprompt.core.base.log import logger
from softprompt.core.meta.pairs.generated import EDITION
from softprompt.core.meta.pairs.sources import open_pairs
from softprompt.core.synthetic import FAMILIES

COUNT = 6
CAPTIONS = [f"a picture, number {index}" for index in range(COUNT)]


def encoded(index: int) -> bytes:
    Image.new("RGB", (8, 6), (40 * index, 10, 20)).save(data := io.BytesIO(), "PNG")
    return data.getvalue()


def write_pictures(folder, count: int = COUNT):
    (folder / "sub").mkdir()
    for index in range(count):
        (folder / "sub" / f"{index}.png").write_bytes(encoded(index))
    return [f"sub/{index}.png" for index in range(count)]


def write_csv(folder, paths):
    text = "".join(f'{path},"{c}"\n' for path, c in zip(paths, CAPTIONS, strict=True))
    (folder / "captions.csv").write_text(text)
    return "captions.csv"


def write_csv_with_header(folder, paths):
    rows = (f'{n},"{c}",{path}\n' for n, (path, c) in enumerate(zip(paths, CAPTIONS, strict=True)))
    text = "id,Title,FilePath\r\n" + "\r\n".join(row.strip() for row in rows)
    (folder / "captions.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    return "captions.csv"


def write_tsv(folder, paths):
    text = "".join(f"{path}\t{c}\n" for path, c in zip(paths, CAPTIONS, strict=True))
    (folder / "captions.tsv").write_text(text)
    return "captions.tsv"


def write_jsonl(folder, paths):
    lines = ({"file_name": p, "text": c, "id": 1} for p, c in zip(paths, CAPTIONS, strict=True))
    (folder / "metadata.jsonl").write_text("\n".join(json.dumps(line) for line in lines) + "\n\n")
    return "metadata.jsonl"


def write_texts(folder, paths):
    for path, caption in zip(paths, CAPTIONS, strict=True):
        (folder / path).with_suffix(".txt").write_text(caption + "\n")
    (folder / "README.txt").write_text("no caption")
    return "."


def write_tar(file, samples):
    with tarfile.open(file, "w") as opened:
        for name, data in samples:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            opened.addfile(entry, io.BytesIO(data))


def write_shards(folder, paths):
    for shard in range(2):
        samples = []
        for index in range(3 * shard, 3 * shard + 3):
            samples.append((f"x/{index:03}.png", encoded(index)))
            if index == 4:  # as img2dataset writes them
                samples.append((f"x/{index:03}.json", b'{"caption": "a picture, number 4"}'))
            else:
                samples.append((f"x/{index:03}.txt", CAPTIONS[index].encode()))
        write_tar(folder / f"part-{shard:02}.tar", samples)
    return "part-{00..01}.tar"


FORMS = [write_csv, write_csv_with_header, write_tsv, write_jsonl, write_texts, write_shards]


@pytest.mark.parametrize("write", FORMS)
def test_every_form_gives_the_same_pairs(write, tmp_path):
    source = write(tmp_path, write_pictures(tmp_path))
    pairs = open_pairs(source, tmp_path)
    assert [pairs.caption(index) for index in range(len(pairs))] == CAPTIONS
    for index in (5, 0, 3):
        assert pairs.image(index).size == (8, 6)
        assert pairs.image(index).getpixel((0, 0)) == (40 * index, 10, 20)
    assert len({pairs.digest(index) for index in range(COUNT)}) == COUNT


def test_a_folder_of_shards_is_a_source(tmp_path):
    write_shards(tmp_path, None)
    assert len(open_pairs(str(tmp_path))) == COUNT


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("sub/missing.png,a cat", r"no such picture file \(line 3: sub/missing.png\)"),
        ("sub,a cat", r"no such picture file \(line 3: sub\)"),
        ("sub/0.png,  ", r"an empty caption \(line 3\)"),
        ("sub/0.png", r"another number of columns .* \(line 3\)"),
        ("sub/0.png,a red, round apple", r"another number of columns .* \(line 3\)"),
    ],
)
def test_a_bad_row_is_one_line_and_too_many_are_an_error(line, reason, tmp_path, monkeypatch):
    write_pictures(tmp_path)
    rows = ["sub/1.png,a dog", "sub/2.png,a tree", line, "sub/3.png,a house"]
    (tmp_path / "captions.csv").write_text("\n".join(rows))
    lines = []
    monkeypatch.setattr(logger, "warning", lines.append)
    assert len(open_pairs("captions.csv", tmp_path, max_skipped=0.3)) == 3
    assert len(lines) == 1 and "skipped 1 of 4 pairs, with" in lines[0] and "\n" not in lines[0]
    with pytest.raises(UserError, match=reason) as raised:
        open_pairs("captions.csv", tmp_path)
    assert "\n" not in str(raised.value) and "1 of 4 pairs" in str(raised.value)


@pytest.mark.parametrize("line", ["no json", "[1, 2]", '{"path": "sub/0.png"}', '{"path": 1}'])
def test_a_bad_json_line_is_named(line, tmp_path):
    write_pictures(tmp_path)
    (tmp_path / "captions.jsonl").write_text('{"path": "sub/0.png", "caption": "a cat"}\n' + line)
    with pytest.raises(UserError, match=r"no JSON object of path and caption \(line 2\)"):
        open_pairs("captions.jsonl", tmp_path)


def test_the_first_of_many_bad_rows_are_named(tmp_path):
    (tmp_path / "captions.csv").write_text("".join(f"{index}.png,a cat\n" for index in range(9)))
    with pytest.raises(
        UserError, match=r"9 with no such .*line 1: 0.png, line 2.*line 3.*, \.\.\."
    ):
        open_pairs("captions.csv", tmp_path, max_skipped=0.99)


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("captions.csv", b"", "lists no pairs"),
        ("captions.csv", "a.png,caf\xe9".encode("latin-1"), "UTF-8"),
        ("captions.xlsx", b"", "is none of these"),
    ],
)
def test_files_that_are_no_listing(name, content, match, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=match):
        open_pairs(name, tmp_path)


def test_sources_that_are_not_there(tmp_path, monkeypatch):
    for source, match in (
        ("", "no captioned pictures are named"),
        ("none.csv", "no captioned pictures at"),
        ("drawn:many", "'many' is no number"),
        ("part-{0..3}.tar", "4 of 4 shards are missing"),
        (".", "holds no pictures"),
    ):
        with pytest.raises(UserError, match=match):
            open_pairs(source, tmp_path)
    (tmp_path / "here.csv").write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="did you mean .*here.csv"):
        open_pairs("here.csv", "elsewhere")
    with pytest.raises(UserError, match="MAX_SKIPPED"):
        open_pairs("drawn:4", max_skipped=1)


def test_a_picture_without_a_caption_is_skipped_in_folders_and_shards(tmp_path):
    write_texts(tmp_path, write_pictures(tmp_path))
    (tmp_path / "sub" / "3.txt").unlink()
    with pytest.raises(UserError, match=r"1 with no .txt of the same name \(sub/3.png\)"):
        open_pairs(".", tmp_path)
    samples = [("0.png", encoded(0)), ("1.png", encoded(1)), ("1.txt", b"a cat"), ("2.txt", b"x")]
    write_tar(tmp_path / "one.tar", samples)
    with pytest.raises(UserError, match="1 with no caption .*one.tar: 0.*1 with no picture"):
        open_pairs("one.tar", tmp_path)
    assert len(open_pairs("one.tar", tmp_path, max_skipped=0.7)) == 1


def test_a_cut_off_shard_is_named(tmp_path):
    write_shards(tmp_path, None)
    whole = (tmp_path / "part-01.tar").read_bytes()
    (tmp_path / "part-01.tar").write_bytes(whole[:700])
    with pytest.raises(UserError, match="part-01.tar cannot be read"):
        open_pairs("part-{00..01}.tar", tmp_path)


def test_shards_without_the_library_say_what_to_install(tmp_path, monkeypatch):
    import sys

    write_shards(tmp_path, None)
    monkeypatch.setitem(sys.modules, "webdataset.shardlists", None)
    with pytest.raises(UserError, match=r"pip install .*softprompt\[webdataset\]"):
        open_pairs("part-{00..01}.tar", tmp_path)


def test_an_unreadable_picture_is_an_error_with_its_place(tmp_path):
    pairs = open_pairs(write_csv(tmp_path, write_pictures(tmp_path)), tmp_path)
    (tmp_path / "sub" / "2.png").write_bytes(encoded(2)[:40])
    with pytest.raises(UserError, match="2.png"):
        pairs.image(2)
    (tmp_path / "sub" / "2.png").unlink()
    with pytest.raises(UserError, match="2.png"):
        pairs.digest(2)


def test_drawn_pairs_are_of_classes_that_are_not_evaluated():
    pairs = open_pairs("drawn:40")
    assert len(pairs) == 40
    for index in range(40):
        assert any(name in pairs.caption(index) for name in FAMILIES["extra"])
    assert pairs.image(3).tobytes() == open_pairs("drawn:5").image(3).tobytes()
    assert pairs.digest(3) != pairs.digest(4)


def test_generated_pairs_are_those_of_their_edition():
    """Features are cached under EDITION: other pictures or captions need another one."""
    pairs, content = open_pairs("drawn:64"), hashlib.sha256()
    for index in range(64):
        content.update(pairs.image(index).tobytes() + pairs.caption(index).encode())
    assert (EDITION, content.hexdigest()) == (
        "01618f0a6845121415e0a3e33c37d48b5949bdcfd2d0971e6a4a1a9ab9b034b4",
        "70acc753659695c0623b64cb115fe489a756cd188936e2d689098f0c698c96e5",
    )


@pytest.mark.parametrize("path", ["../secret.png", "sub/../../secret.png", "/etc/secret.png"])
@pytest.mark.parametrize("form", [write_csv, write_jsonl])
def test_a_listing_cannot_name_pictures_elsewhere(form, path, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    paths = write_pictures(folder)
    (tmp_path / "secret.png").write_bytes(encoded(0))
    source = form(folder, [path, *paths[1:]])
    with pytest.raises(UserError, match=f"names the picture {path!r}, which lies outside of"):
        open_pairs(source, folder, max_skipped=0.9)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_no_picture(tmp_path):
    paths = write_pictures(tmp_path)
    write_texts(tmp_path, paths)
    for name in ("pipe.png", "7.txt"):
        os.mkfifo(tmp_path / "sub" / name)
    (tmp_path / "sub" / "7.png").write_bytes(encoded(1))
    assert len(open_pairs("sub", tmp_path, max_skipped=0.5)) == COUNT
