"""tools/download.py against a server in this process: transfers, sources, placing, two at once."""

import errno
import hashlib
import io
import json
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from softprompt.core.base.errors import UserError
from softprompt.core.base.files import DiskFull
from softprompt.core.base.log import logger
from softprompt.core.data import sources
from softprompt.core.data.sources import File
from softprompt.core.download import archive, disk, drive, fetch, get
from softprompt.core.download.disk import SourceError

ROOT = Path(__file__).resolve().parents[2]
CONTENT = bytes(range(256)) * 400  # 102,400 bytes
SHA256 = hashlib.sha256(CONTENT).hexdigest()
CLASSES = ("AnnualCrop", "Forest", "River")


class Server(ThreadingHTTPServer):
    """Serves ``files``, as unreliably as told."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str | None, str | None]] = []  # path, Range, If-Range
        self.sent = 0
        self.cuts: list[int] = []  # the next answers break off after so many bytes
        self.statuses: list[int] = []  # the next answers are these
        self.ranges = self.validators = self.if_range = True
        self.headers: dict[str, str] = {}
        self.hub = False

    def handle_error(self, *_):
        pass  # a client that hangs up is what the tests are about

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *words):
        pass

    def do_GET(self):
        server, path = self.server, self.path.removeprefix("/hub").split("?")[0]
        wanted, condition = self.headers["Range"], self.headers["If-Range"]
        server.asked.append((self.path, wanted, condition))
        if server.statuses and (status := server.statuses.pop(0)) != 200:
            return self.answer(status, b"")
        content = server.files.get(path)
        if content is None:
            return self.answer(404, b"")
        if server.hub and self.path.startswith("/hub"):
            digest = hashlib.sha256(content).hexdigest()
            return self.answer(302, b"", {"Location": path, "X-Linked-ETag": f'"{digest}"'})
        tag = f'"{hashlib.md5(content).hexdigest()}"'
        headers = dict(server.headers)
        if server.validators:
            headers["ETag"] = tag
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and server.ranges else 0
        if start and server.if_range and condition not in (None, tag):
            start = 0
        if start >= len(content) > 0:
            return self.answer(416, b"", {"Content-Range": f"bytes */{len(content)}"})
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return self.answer(206 if start else 200, content[start:], headers)

    def answer(self, status: int, body: bytes, headers: dict = {}):  # noqa: B006
        cut = self.server.cuts.pop(0) if body and self.server.cuts else len(body)
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.server.sent += len(body[:cut])  # before a client can have it and look here
        self.wfile.write(body[:cut])
        if cut < len(body):
            self.close_connection = True


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(fetch, "WAITS", (0, 0, 0))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Server()
    server.files["/a.bin"] = CONTENT
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def file(tmp_path) -> Path:
    return tmp_path / "a.bin"


def ranges(server: Server) -> list[str | None]:
    return [wanted for _, wanted, _ in server.asked]


def only(file: Path) -> bool:
    return [place.name for place in file.parent.iterdir()] == [file.name]


def test_a_file_arrives_and_is_not_fetched_twice(server, file):
    fetch.fetch(f"{server.url}/a.bin", file, SHA256)
    fetch.fetch(f"{server.url}/a.bin", file, SHA256)
    assert file.read_bytes() == CONTENT and only(file)
    assert ranges(server) == [None]


def test_an_interrupted_transfer_goes_on_where_it_stopped(server, file):
    server.cuts = [30_000, 20_000]
    fetch.fetch(f"{server.url}/a.bin", file)
    assert file.read_bytes() == CONTENT and only(file)
    assert ranges(server) == [None, "bytes=30000-", "bytes=50000-"]
    assert server.asked[1][2] == f'"{hashlib.md5(CONTENT).hexdigest()}"'
    assert server.sent == len(CONTENT)  # no byte came twice


def test_the_next_run_goes_on_with_what_is_kept(server, file):
    server.cuts, server.statuses = [30_000], [200, 503, 503, 503, 503]
    with pytest.raises(SourceError, match="503 Service Unavailable"):
        fetch.fetch(f"{server.url}/a.bin", file)
    assert not file.exists() and file.with_name("a.bin.partial").stat().st_size == 30_000
    fetch.fetch(f"{server.url}/a.bin", file)
    assert file.read_bytes() == CONTENT and only(file)
    assert ranges(server)[-1] == "bytes=30000-" and server.sent == len(CONTENT)


def test_a_server_that_only_cuts_is_given_up(server, file):
    server.cuts, server.ranges = [30_000] * 9, False
    with pytest.raises(SourceError, match="closed the connection early|cut|read"):
        fetch.fetch(f"{server.url}/a.bin", file)
    assert len(server.asked) == 1 + 1 + len(fetch.WAITS)


def test_a_server_without_ranges_sends_it_all_again(server, file):
    server.cuts, server.ranges = [30_000], False
    fetch.fetch(f"{server.url}/a.bin", file)
    assert file.read_bytes() == CONTENT
    assert ranges(server) == [None, "bytes=30000-"] and server.sent == 30_000 + len(CONTENT)


@pytest.mark.parametrize("if_range", [True, False], ids=["If-Range", "ignores If-Range"])
def test_a_file_changed_in_between_is_not_spliced(server, file, if_range):
    server.cuts, server.if_range, server.statuses = [30_000], if_range, [200, 503, 503, 503, 503]
    with pytest.raises(SourceError):
        fetch.fetch(f"{server.url}/a.bin", file)
    server.files["/a.bin"] = changed = CONTENT[::-1]
    fetch.fetch(f"{server.url}/a.bin", file)
    assert file.read_bytes() == changed and only(file)


@pytest.mark.parametrize("sha256", [SHA256, ""], ids=["known sha256", "unknown sha256"])
def test_without_validators_only_a_known_sha256_lets_it_resume(server, file, sha256):
    server.cuts, server.validators = [30_000], False
    fetch.fetch(f"{server.url}/a.bin", file, sha256)
    assert file.read_bytes() == CONTENT
    assert ranges(server) == [None, "bytes=30000-" if sha256 else None]


def test_a_mirror_goes_on_with_another_s_bytes(server, file):
    server.cuts, server.statuses = [30_000], [200, 503, 503, 503, 503]
    with pytest.raises(SourceError):
        fetch.fetch(f"{server.url}/a.bin", file, SHA256)
    server.files["/b.bin"] = CONTENT
    fetch.fetch(f"{server.url}/b.bin", file, SHA256)
    assert server.asked[-1] == ("/b.bin", "bytes=30000-", None)
    assert file.read_bytes() == CONTENT and server.sent == len(CONTENT)


def test_kept_bytes_of_another_file_are_noticed_by_the_sha256(server, file):
    file.with_name("a.bin.partial").write_bytes(b"x" * 30_000)
    note = {"url": "http://elsewhere/", "validator": "", "sha256": SHA256}
    file.with_name("a.bin.partial.json").write_text(json.dumps(note))
    fetch.fetch(f"{server.url}/a.bin", file, SHA256)
    assert file.read_bytes() == CONTENT
    assert ranges(server) == ["bytes=30000-", None]


def test_a_note_never_stands_beside_older_bytes(server, file, monkeypatch):
    """Cut off just before the new content is written, the next run must not splice."""
    server.cuts, server.statuses = [30_000], [200, 503, 503, 503, 503]
    with pytest.raises(SourceError):
        fetch.fetch(f"{server.url}/a.bin", file)
    server.files["/a.bin"] = changed = CONTENT[::-1]
    with monkeypatch.context() as patched:
        patched.setattr(fetch, "_receive", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            fetch.fetch(f"{server.url}/a.bin", file)
    fetch.fetch(f"{server.url}/a.bin", file)
    assert file.read_bytes() == changed


def test_a_partial_file_that_is_whole_needs_no_byte(server, file):
    server.statuses = [200]
    file.with_name("a.bin.partial").write_bytes(CONTENT)
    tag = f'"{hashlib.md5(CONTENT).hexdigest()}"'
    note = {"url": f"{server.url}/a.bin", "validator": tag, "sha256": SHA256}
    file.with_name("a.bin.partial.json").write_text(json.dumps(note))
    fetch.fetch(f"{server.url}/a.bin", file, SHA256)
    assert file.read_bytes() == CONTENT and server.sent == 0 and only(file)


def test_wrong_content_is_refused_and_not_kept(server, file):
    with pytest.raises(SourceError, match=f"the sha256 of the content is {SHA256}, not {'0' * 64}"):
        fetch.fetch(f"{server.url}/a.bin", file, "0" * 64)
    assert list(file.parent.iterdir()) == []


def test_a_damaged_file_of_an_earlier_run_is_fetched_again(server, file):
    file.write_bytes(CONTENT[:50])
    fetch.fetch(f"{server.url}/a.bin", file, SHA256)
    assert file.read_bytes() == CONTENT


def test_compression_that_the_server_calls_its_own_is_not_undone(server, file):
    """Some servers send a .tgz with Content-Encoding: x-gzip, which clients like to decode."""
    server.headers = {"Content-Encoding": "x-gzip"}
    server.cuts = [30_000]
    fetch.fetch(f"{server.url}/a.bin", file, SHA256)
    assert file.read_bytes() == CONTENT


def test_hugging_face_states_the_sha256(server, file):
    server.hub = True
    fetch.fetch(f"{server.url}/hub/a.bin", file)
    assert file.read_bytes() == CONTENT
    file.unlink()
    server.files["/a.bin"] = b"other"
    honest = Answer.answer

    def lie(self, status, body, headers={}):  # noqa: B006
        if "X-Linked-ETag" in headers:
            headers = headers | {"X-Linked-ETag": f'"{SHA256}"'}
        honest(self, status, body, headers)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Answer, "answer", lie)
        with pytest.raises(SourceError, match=f"not {SHA256}"):
            fetch.fetch(f"{server.url}/hub/a.bin", file)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("{server}/none", "/none: 404 Not Found"),
        ("http://127.0.0.1:9/a", "127.0.0.1:9/a: .*Connection refused"),
        ("http://", "No host supplied"),
        ("gopher://x/y", "No connection adapters"),
    ],
)
def test_an_address_that_does_not_serve_is_one_line(server, file, url, message):
    with pytest.raises(SourceError, match=message) as error:
        fetch.fetch(url.format(server=server.url), file)
    assert "\n" not in str(error.value) and not file.exists()


def full_after(count: int):
    """``open`` on a disk that has room for so many bytes."""

    def opened(path, mode="r", **options):
        file = open(path, mode, **options)
        if "b" in mode and "r" != mode[0] or "+" in mode:
            write = file.write

            class Full:
                def __enter__(self):
                    return self

                def __exit__(self, *_):
                    file.close()

                def write(self, data):
                    room = count - file.tell()
                    if len(data) > room:
                        write(data[: max(0, room)])
                        raise OSError(errno.ENOSPC, "No space left on device")
                    return write(data)

                def __getattr__(self, name):
                    return getattr(file, name)

            return Full()
        return file

    return opened


def test_a_full_disk_keeps_what_is_there(server, file, monkeypatch):
    monkeypatch.setattr(fetch, "CHUNK", 10_000)
    monkeypatch.setattr(fetch, "open", full_after(45_000), raising=False)
    with pytest.raises(DiskFull, match="no space left on the disk of .*what is there is kept"):
        fetch.fetch(f"{server.url}/a.bin", file)
    assert len(server.asked) == 1  # trying again would not help
    kept = file.with_name("a.bin.partial").stat().st_size
    assert 40_000 <= kept <= 45_000
    monkeypatch.delattr(fetch, "open")
    fetch.fetch(f"{server.url}/a.bin", file)
    assert ranges(server)[-1] == f"bytes={kept}-" and file.read_bytes() == CONTENT


def test_a_file_larger_than_the_free_space_is_not_begun(server, file, monkeypatch):
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda place: type("", (), {"free": 1000})())
    with pytest.raises(DiskFull, match="a.bin needs 102,400 bytes more, but .* has 1,000 bytes"):
        fetch.fetch(f"{server.url}/a.bin", file)


def test_a_folder_that_cannot_be_written_is_one_line(server, tmp_path):
    (tmp_path / "a.bin.partial").mkdir()
    with pytest.raises(UserError, match="cannot write .*a.bin.partial: Is a directory"):
        fetch.fetch(f"{server.url}/a.bin", tmp_path / "a.bin")


# Google Drive


@pytest.fixture
def fake_drive(monkeypatch):
    """gdown that has the given files, and raises what is put in their place."""
    import gdown

    there: dict[str, bytes | Exception | None] = {}
    asked = []

    def download(*, id, output, resume, quiet):
        asked.append(id)
        found = there.get(id, gdown.exceptions.FileURLRetrievalError("Failed:\n\n\ttoo many\n"))
        if isinstance(found, Exception):
            raise found
        if found is not None:
            Path(output).write_bytes(found)
            return output

    monkeypatch.setattr(gdown, "download", download)
    there["asked"] = asked
    return there


def test_drive(fake_drive, file):
    fake_drive["1abc"] = CONTENT
    drive.fetch_drive("1abc", file, SHA256)
    drive.fetch_drive("1abc", file, SHA256)
    assert file.read_bytes() == CONTENT and only(file)
    assert fake_drive["asked"] == ["1abc"]


@pytest.mark.parametrize(
    ("found", "raised", "message"),
    [
        (None, SourceError, "uc.id=1abc: gdown could not download it"),
        (RuntimeError("a\n\n b"), SourceError, "uc.id=1abc: gdown: a b$"),
        (OSError("offline"), SourceError, "gdown: offline"),
        (OSError(errno.ENOSPC, "No space"), DiskFull, "no space left"),
        (b"html", SourceError, "the sha256 of the content is"),
    ],
)
def test_drive_that_fails(fake_drive, file, found, raised, message):
    fake_drive["1abc"] = found
    with pytest.raises(raised, match=message):
        drive.fetch_drive("1abc", file, SHA256)
    assert not file.exists()


# A whole dataset


def picture() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (8, 8), "green").save(content, "JPEG")
    return content.getvalue()


def tables(count: int = 4) -> dict:
    found = {"train": [], "val": [], "test": []}
    for label, name in enumerate(CLASSES):
        for index in range(count):
            split = ("train", "val", "test", "train")[index % 4]
            found[split].append([f"{name}/{name}_{index}.jpg", label, name.lower()])
    return found


def eurosat_zip(prefix: str = "2750/", split: bool = True, without: str = "") -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as opened:
        for path, *_ in (row for rows in tables().values() for row in rows):
            if path != without:
                opened.writestr(prefix + path, picture())
        if split:
            opened.writestr("split_zhou_EuroSAT.json", json.dumps(tables()))
    return content.getvalue()


@pytest.fixture
def tool(load_tool, tmp_path, server, fake_drive, monkeypatch):
    """Run tools/download.py with ROOT tmp_path/DATA."""
    monkeypatch.setattr(logger, "handlers", [])  # one of an earlier test writes elsewhere
    monkeypatch.setattr(logger, "propagate", True)  # else pytest adds one

    def run(*arguments) -> int:
        return load_tool("download").main([*map(str, arguments), "--root", str(tmp_path / "DATA")])

    return run


@pytest.fixture
def mistake(tool, capsys):
    """Run what must fail, and return the one line that it says."""

    def run(*arguments) -> str:
        assert tool(*arguments) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: ") and said.count("\n") == 1, said
        return said

    return run


def below(folder: Path) -> set[str]:
    return {str(place.relative_to(folder)) for place in folder.iterdir()}


def test_from_an_address_to_a_training_run(server, tool, load_tool, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    server.files["/EuroSAT.zip"] = eurosat_zip()
    assert tool("eurosat", "--url", f"{server.url}/EuroSAT.zip") == 0
    folder = tmp_path / "DATA" / "eurosat"
    assert below(folder) == {"2750", "split_zhou_EuroSAT.json"}
    assert below(folder / "2750") == set(CLASSES)
    assert "eurosat: 3 classes, 6 train, 3 val, 3 test" in capsys.readouterr().out
    asked = len(server.asked)
    assert tool("eurosat", "--url", f"{server.url}/EuroSAT.zip") == 0
    assert len(server.asked) == asked
    assert "the pictures are in" in capsys.readouterr().out

    arguments = [
        *("--config-file", str(ROOT / "configs" / "coop" / "tiny.yaml")),
        *("--dataset-config-file", str(ROOT / "configs" / "datasets" / "eurosat.yaml")),
        *("--root", "DATA", "--output-dir", "run", "MODEL.BACKBONE.PRETRAINED", ""),
        *("DATASET.NUM_SHOTS", "1", "OPTIM.MAX_EPOCH", "1", "TEST.CLASSES", "(all,)"),
        *("DATASET.SUBSAMPLE_CLASSES", "all"),
    ]
    assert load_tool("train").main(arguments) == 0
    found = json.loads((tmp_path / "run" / "results.json").read_text())
    assert found["split"]["note"].startswith("non-standard split")  # it is no real EuroSAT
    assert found["results"]["coop under erm"]["all"]["images"] == 3


@pytest.mark.parametrize(
    "prefix", ["2750/", "eurosat/2750/", "a/b/2750/", "EuroSAT_RGB/"], ids=lambda name: name
)
def test_pictures_are_found_at_any_depth_and_under_other_names(server, tool, tmp_path, prefix):
    server.files["/x.zip"] = eurosat_zip(prefix)
    assert tool("eurosat", "--url", f"{server.url}/x.zip?download=1") == 0
    assert below(tmp_path / "DATA" / "eurosat" / "2750") == set(CLASSES)


def test_caltech_s_pictures_are_an_archive_in_an_archive(server, tool, tmp_path):
    split = {"train": [["Faces/image_0001.jpg", 0, "face"]], "val": [], "test": []}
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz") as opened:
        info = tarfile.TarInfo("101_ObjectCategories/Faces/image_0001.jpg")
        info.size = len(picture())
        opened.addfile(info, io.BytesIO(picture()))
    outer = io.BytesIO()
    with zipfile.ZipFile(outer, "w") as opened:
        opened.writestr("__MACOSX/caltech-101/._101_ObjectCategories.tar.gz", b"of a Mac")
        opened.writestr("caltech-101/101_ObjectCategories.tar.gz", inner.getvalue())
        opened.writestr("caltech-101/Annotations.tar", b"not looked at")
        opened.writestr("caltech-101/split_zhou_Caltech101.json", json.dumps(split))
    server.files["/caltech-101.zip"] = outer.getvalue()
    assert tool("caltech101", "--url", f"{server.url}/caltech-101.zip") == 0
    folder = tmp_path / "DATA" / "caltech-101"
    assert below(folder) == {"101_ObjectCategories", "split_zhou_Caltech101.json"}
    assert below(folder / "101_ObjectCategories" / "Faces") == {"image_0001.jpg"}


def aircraft_zip() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as opened:
        data = "fgvc-aircraft-2013b/data/"
        opened.writestr(f"{data}variants.txt", "707-320\n727-200\n")
        for number, split in enumerate(("train", "val", "test")):
            opened.writestr(f"{data}images_variant_{split}.txt", f"000{number} 707-320\n")
            opened.writestr(f"{data}images/000{number}.jpg", picture())
        opened.writestr(f"{data}images_box.txt", "not needed")
    return content.getvalue()


def test_aircraft_s_lists_come_with_the_pictures(server, tool, tmp_path):
    server.files["/a.zip"] = aircraft_zip()
    assert tool("fgvc_aircraft", "--url", f"{server.url}/a.zip") == 0
    lists = {f"images_variant_{split}.txt" for split in ("train", "val", "test")}
    assert below(tmp_path / "DATA" / "fgvc_aircraft") == {"images", "variants.txt"} | lists


def test_fewer_pictures_than_published(server, mistake, tmp_path, monkeypatch):
    server.files["/a.zip"] = aircraft_zip()
    entry = sources.SOURCES["fgvc_aircraft"]._replace(sources=(File(f"{server.url}/a.zip", "a"),))
    monkeypatch.setitem(sources.SOURCES, "fgvc_aircraft", entry)
    said = mistake("fgvc_aircraft")
    assert "holds (1, 1, 1) pictures, not (3334, 3333, 3333)" in said


def test_an_archive_at_hand(tool, mistake, tmp_path):
    given = tmp_path / "mine.zip"
    given.write_bytes(eurosat_zip())
    digest = disk.sha256_of(given)
    assert f"its sha256 is {digest}, not {'0' * 64}" in mistake(
        "eurosat", "--url", given, "--sha256", "0" * 64
    )
    assert tool("eurosat", "--url", given, "--sha256", digest.upper()) == 0
    assert given.exists()


def test_an_archive_put_into_the_folder_is_taken(server, tool, tmp_path, monkeypatch):
    entry = sources.SOURCES["eurosat"]
    first = entry.sources[0]._replace(url=f"{server.url}/none/EuroSAT.zip")
    monkeypatch.setitem(sources.SOURCES, "eurosat", entry._replace(sources=(first,)))
    folder = tmp_path / "DATA" / "eurosat"
    folder.mkdir(parents=True)
    (folder / "EuroSAT.zip").write_bytes(eurosat_zip())
    assert tool("eurosat") == 0
    assert server.asked == []
    assert below(folder) == {"2750", "split_zhou_EuroSAT.json", "EuroSAT.zip"}


@pytest.fixture
def known(server, monkeypatch):
    """Have EuroSAT's known sources be these files of the server."""

    def set_sources(*files: File) -> None:
        entry = sources.SOURCES["eurosat"]
        files = [file._replace(url=f"{server.url}/{file.url}") for file in files]
        monkeypatch.setitem(sources.SOURCES, "eurosat", entry._replace(sources=tuple(files)))

    return set_sources


def test_sources_are_tried_in_order(server, tool, known, tmp_path, capsys):
    good = eurosat_zip()
    server.files |= {
        "/cut.zip": good[: len(good) // 2],
        "/lacks.zip": eurosat_zip(without=""),
        "/good.zip": good,
        "/wrong.zip": b"PK wrong",
    }
    server.files["/lacks.zip"] = eurosat_zip(without="River/River_1.jpg")
    known(
        File("none.zip", "none.zip"),
        File("wrong.zip", "wrong.zip", sha256=hashlib.sha256(good).hexdigest()),
        File("cut.zip", "cut.zip"),
        File("lacks.zip", "lacks.zip"),
        File("good.zip", "good.zip"),
    )
    assert tool("eurosat") == 0
    said = capsys.readouterr().out
    assert "none.zip\neurosat: 404 Not Found\n" in said
    assert "wrong.zip\neurosat: the sha256 of the content is" in said
    assert "cut.zip is damaged, or no archive" in said
    assert "lacks.zip does not hold the whole dataset" in said and "River_1.jpg" in said
    assert below(tmp_path / "DATA" / "eurosat") == {"2750", "split_zhou_EuroSAT.json"}


def test_no_source_serves(server, mistake, known, tmp_path):
    server.files["/lacks.zip"] = eurosat_zip(without="River/River_1.jpg")
    known(File("none.zip", "none.zip"), File("lacks.zip", "lacks.zip"))
    said = mistake("eurosat")
    assert "eurosat: no source serves (127.0.0.1" in said and "give it with --url FILE" in said
    assert ": 404 Not Found; 127.0.0.1" in said and "River_1.jpg" in said
    assert below(tmp_path / "DATA" / "eurosat") == {".download.lock"}


def test_a_mirror_is_asked_first(server, tool, known, tmp_path):
    good = eurosat_zip()
    server.files["/mine/EuroSAT.zip"] = good
    known(File("first/EuroSAT.zip", "EuroSAT.zip", sha256=hashlib.sha256(good).hexdigest()))
    assert tool("eurosat", "--mirror", f"{server.url}/mine/") == 0
    assert [path for path, *_ in server.asked] == ["/mine/EuroSAT.zip"]


def test_the_archive_s_split_does_not_replace_the_disk_s(server, tool, tmp_path):
    folder = tmp_path / "DATA" / "eurosat"
    folder.mkdir(parents=True)
    own = tables()
    own["train"].reverse()
    (folder / "split_zhou_EuroSAT.json").write_text(json.dumps(own))
    server.files["/x.zip"] = eurosat_zip()
    assert tool("eurosat", "--url", f"{server.url}/x.zip") == 0
    assert json.loads((folder / "split_zhou_EuroSAT.json").read_text()) == own


def test_the_packaged_split_goes_beside_the_pictures(server, tool, mistake, tmp_path):
    """Without a split of its own, the archive must hold what CoOp's split lists."""
    server.files["/x.zip"] = eurosat_zip(split=False)
    said = mistake("eurosat", "--url", f"{server.url}/x.zip")
    assert "does not hold the whole dataset" in said and "others)" in said


def test_pictures_that_are_there_but_not_whole(server, tool, mistake, tmp_path):
    server.files["/x.zip"] = eurosat_zip()
    assert tool("eurosat", "--url", f"{server.url}/x.zip") == 0
    (tmp_path / "DATA" / "eurosat" / "2750" / "River" / "River_0.jpg").unlink()
    said = mistake("eurosat", "--url", f"{server.url}/x.zip")
    assert "eurosat is there, but not whole" in said and "River_0.jpg" in said
    assert "move its pictures away" in said


def test_a_full_disk_while_unpacking_keeps_the_archive(
    server, mistake, tool, tmp_path, monkeypatch
):
    server.files["/x.zip"] = eurosat_zip()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(archive.shutil, "copyfileobj", full)
        assert "no space left on the disk of" in mistake("eurosat", "--url", f"{server.url}/x.zip")
    work = tmp_path / "DATA" / "eurosat" / ".download"
    (kept,) = work.iterdir()
    assert kept.read_bytes() == server.files["/x.zip"]
    assert tool("eurosat", "--url", f"{server.url}/x.zip") == 0
    assert len(server.asked) == 1


def test_two_runs_at_once(server, tmp_path):
    server.files["/x.zip"] = eurosat_zip()
    own = File(f"{server.url}/x.zip", "x.zip")
    (tmp_path / "DATA").mkdir()
    found, failed = [], []

    def run():
        try:
            found.append(get.get("eurosat", tmp_path / "DATA", own).classnames)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and len(found) == 4
    assert len(server.asked) == 1
    assert below(tmp_path / "DATA" / "eurosat") == {"2750", "split_zhou_EuroSAT.json"}


def food_tar(split: bool) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as opened:
        for name in ("waffles", "apple_pie"):
            for index in range(10):
                info = tarfile.TarInfo(f"food-101/images/{name}/{index}.jpg")
                info.size = len(picture())
                opened.addfile(info, io.BytesIO(picture()))
        if split:
            info = tarfile.TarInfo("food-101/split_zhou_Food101.json")
            text = json.dumps({"train": [["waffles/1.jpg", 0, "waffles"]], "val": [], "test": []})
            info.size = len(text)
            opened.addfile(info, io.BytesIO(text.encode()))
    return content.getvalue()


FOOD_SPLIT = "1QK0tGi096I0Ba6kggatX1ee6dJFIcEJl"


def test_a_split_that_is_not_shipped_comes_from_drive(server, tool, fake_drive, tmp_path):
    text = json.dumps({"train": [["waffles/0.jpg", 0, "waffles"]], "val": [], "test": []})
    fake_drive[FOOD_SPLIT] = text.encode()
    server.files["/food.tgz"] = food_tar(split=False)
    assert tool("food101", "--url", f"{server.url}/food.tgz") == 0
    folder = tmp_path / "DATA" / "food-101"
    assert (folder / "split_zhou_Food101.json").read_text() == text
    assert below(folder) == {"images", "split_zhou_Food101.json"}


def test_a_split_that_is_not_shipped_comes_with_an_archive(server, tool, fake_drive, tmp_path):
    server.files["/food.tgz"] = food_tar(split=True)
    assert tool("food101", "--url", f"{server.url}/food.tgz") == 0
    assert (tmp_path / "DATA" / "food-101" / "split_zhou_Food101.json").is_file()


@pytest.mark.parametrize("answer", [None, b"<html>Sign in</html>"], ids=["refused", "a page"])
def test_a_missing_split_is_an_error(server, mistake, tool, fake_drive, tmp_path, answer):
    if answer:
        fake_drive[FOOD_SPLIT] = answer
    server.files["/food.tgz"] = food_tar(split=False)
    said = mistake("food101", "--url", f"{server.url}/food.tgz")
    file = tmp_path / "DATA" / "food-101" / "split_zhou_Food101.json"
    assert f"gdown {FOOD_SPLIT} -O {file}" in said and "--make-split" in said
    assert not file.exists() and (file.parent / "images").is_dir()

    asked = len(server.asked)
    assert tool("food101", "--make-split") == 0
    assert len(server.asked) == asked
    made = json.loads(file.read_text())
    assert {split: len(made[split]) for split in ("train", "val", "test")} == {
        "train": 10,
        "val": 4,
        "test": 6,
    }
    assert "random.Random(1)" in made["note"] and "not CoOp's published split" in made["note"]
    dataset = get.get("food101", tmp_path / "DATA")
    assert dataset.note.startswith("non-standard split")
    assert dataset.classnames == ("apple_pie", "waffles")
    file.unlink()
    get.get("food101", tmp_path / "DATA", make=True)
    assert json.loads(file.read_text()) == made  # the seed decides


def test_sun397_s_split_is_made_from_its_official_lists(server, tool, tmp_path, monkeypatch):
    scenes = ("/a/abbey", "/i/ice_rink/indoor")
    lists = io.BytesIO()
    with zipfile.ZipFile(lists, "w") as opened:
        opened.writestr("ClassName.txt", "".join(f"{scene}\n" for scene in scenes))
        for name, numbers in (("Training", range(10)), ("Testing", range(10, 14))):
            lines = (f"{scene}/sun_{number}.jpg\n" for scene in scenes for number in numbers)
            opened.writestr(f"{name}_01.txt", "".join(lines))
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as opened:
        for scene in scenes:
            for number in range(14):
                opened.writestr(f"SUN397{scene}/sun_{number}.jpg", picture())
    server.files |= {"/sun.zip": content.getvalue(), "/lists.zip": lists.getvalue()}
    entry = sources.SOURCES["sun397"]
    file = File(f"{server.url}/lists.zip", "lists.zip")
    monkeypatch.setitem(sources.SOURCES, "sun397", entry._replace(lists=file))
    assert tool("sun397", "--url", f"{server.url}/sun.zip", "--make-split") == 0
    made = json.loads((tmp_path / "DATA" / "sun397" / "split_zhou_SUN397.json").read_text())
    assert [len(made[split]) for split in ("train", "val", "test")] == [16, 4, 8]
    assert made["test"][4] == ["i/ice_rink/indoor/sun_10.jpg", 1, "indoor ice_rink"]
    assert {row[1] for row in made["val"]} == {0, 1}


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name one or more datasets, or all"),
        (("eurosatt",), "nothing to download for 'eurosatt'; did you mean 'eurosat'?"),
        (("shapes",), "nothing to download for 'shapes'"),
        (("eurosat", "dtd", "--url", "http://x/y.zip"), "but 2 are named"),
        (("eurosat", "--url", "/no/such.zip"), "--url /no/such.zip is neither an address nor"),
        (("eurosat", "--sha256", "00"), "--sha256 belongs to --url"),
        (("eurosat", "--quick"), "belong to --check"),
        (("eurosat", "--check", "--jobs", "-1"), "argument --jobs: -1 is less than 0"),
        (("eurosat", "--url", "http://[::1"), "--url http://[::1 is no address such as https"),
        (("eurosat", "--url", "http://host:port/a.zip"), "is no address such as https"),
        (("eurosat", "--mirror", "ftp://host"), "--mirror ftp://host is no address such as https"),
        (("--list", "--check"), "--check would do nothing beside --list"),
        (("eurosat", "--check", "--url", "a"), "--url would do nothing beside --check"),
    ],
)
def test_mistakes_are_one_line(mistake, arguments, message):
    assert message in mistake(*arguments)


def test_a_root_that_cannot_be_right(load_tool, tmp_path, capsys):
    download = load_tool("download")
    assert download.main(["eurosat"]) == 2
    assert download.main(["eurosat", "--root", str(tmp_path / "no" / "DATA")]) == 2
    said = capsys.readouterr().err
    assert "--root is missing" in said and f"there is no folder {tmp_path / 'no'}" in said
    assert not (tmp_path / "no").exists()


def test_one_that_fails_stops_no_other(server, tool, known, tmp_path, capsys, monkeypatch):
    known(File("none.zip", "none.zip"))
    server.files["/dtd.zip"] = b""
    dtd = sources.SOURCES["dtd"]._replace(sources=(File(f"{server.url}/dtd.zip", "dtd.zip"),))
    monkeypatch.setitem(sources.SOURCES, "dtd", dtd)
    assert tool("eurosat", "dtd") == 2
    said = capsys.readouterr().err
    assert said.count("error: ") == 3 and "not complete: eurosat, dtd" in said


def test_list_and_dry_run_touch_nothing(server, tool, tmp_path, capsys):
    assert tool("--list") == 0
    said = capsys.readouterr().out
    assert all(name in said for name in sources.SOURCES) and "CC BY-SA 4.0" in said
    assert tool("all", "--dry-run", "--mirror", server.url) == 0
    said = capsys.readouterr().out
    assert f"{server.url}/EuroSAT.zip" in said and "image-net.org" in said
    assert not (tmp_path / "DATA").exists() and server.asked == []
