"""Pictures of every kind among one's own: used with their contrast, or refused by name."""

import io
import os
import struct
from pathlib import Path

import numpy as np
from damage import apply, damages
from forked import ROOT, run
from hypothesis import strategies as st
from inputs import Campaign
from oracle import judge, listing, refused, sound_run, unchanged
from PIL import Image

KIND = "pictures"
FOLDER = (
    *("--config-file", str(ROOT / "configs/coop/tiny.yaml")),
    *"DATASET.NAME folder DATASET.FOLDER.PATH pictures DATASET.ROOT . DATASET.NUM_SHOTS 2".split(),
    *"DATASET.SUBSAMPLE_CLASSES all TEST.CLASSES ('all',) OPTIM.MAX_EPOCH 1".split(),
    *"OPTIM.WARMUP_EPOCH 0 --output-dir run".split(),
)
FORMATS = ("png", "jpg", "tif", "webp", "gif", "bmp", "ppm")
MODES = (
    "1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16", "I;16B",
    "La", "RGBa", "RGBX", "PA",
)  # fmt: skip


def ramp(size: tuple[int, int]) -> Image.Image:
    """Return a picture with all levels of a reddish gray, dark above and light below."""
    width, height = size
    level = np.linspace(0, 255, width * height).reshape(height, width, 1)
    return Image.fromarray((level * (1, 0.9, 0.8)).astype(np.uint8))


def content(mode: str, form: str, size: tuple[int, int], extra: str) -> bytes | None:
    """Return a picture file of this mode, or None if this format does not take it."""
    picture = ramp(size)
    try:
        if mode in ("I", "F", "I;16", "I;16B") and form not in ("png", "tif", "ppm"):
            return None  # Pillow clips their values where it writes the file
        if mode in ("I;16", "I;16B", "I"):
            values = np.asarray(picture.convert("L")).astype(np.uint16) * 257
            picture = Image.fromarray(values)
            picture = picture.convert("I") if mode == "I" else picture
        elif mode == "F":
            picture = Image.fromarray(np.asarray(picture.convert("L")).astype(np.float32) * 100)
        else:
            picture = picture.convert(mode)
        options = {}
        if extra == "exif":
            exif = Image.Exif()
            exif[0x0112] = 6  # rotated
            options["exif"] = exif
        elif extra == "frames":
            options = {"save_all": True, "append_images": [picture, picture]}
        elif extra == "palette transparency" and mode == "P":
            options["transparency"] = 3
        file = io.BytesIO()
        picture.save(file, format={"jpg": "jpeg", "tif": "tiff"}.get(form, form), **options)
        return file.getvalue()
    except (OSError, ValueError, KeyError, TypeError, SystemError, AttributeError):
        return None


def place_pictures(folder: Path) -> None:
    """Write two classes of five pictures."""
    for name, colour in (("red", (200, 30, 30)), ("blue", (30, 30, 200))):
        place = folder / "pictures" / name
        place.mkdir(parents=True)
        for i in range(5):
            Image.new("RGB", (40, 40), colour).save(place / f"{i}.png")


def train_and_predict(folder: Path, name: str) -> None:
    """Train with the picture among the others, and predict it."""
    before = listing(folder)
    outcome = run("train", *FOLDER, cwd=folder)
    judge(outcome)
    if refused(outcome):
        if not (folder / "run").exists():
            unchanged(before, folder)
        assert name in outcome.err, f"it does not name the picture: {outcome}"
        assert not (folder / "run/results.json").exists()
        return
    sound_run(folder / "run")
    outcome = run("predict", "run", f"pictures/red/{name}", "--json", cwd=folder)
    judge(outcome)
    assert "NaN" not in outcome.out


@st.composite
def pictures(draw) -> tuple:
    size = draw(st.sampled_from([(1, 1), (1, 300), (300, 1), (40, 40), (33, 57), (640, 480)]))
    extras = ("", "", "exif", "frames", "palette transparency")
    mode, form = draw(st.sampled_from(MODES)), draw(st.sampled_from(FORMATS))
    return mode, form, size, draw(st.sampled_from(extras))


def test_pictures_of_every_mode(campaign: Campaign):
    def check(case: tuple, folder: Path) -> None:
        mode, form, size, extra = case
        written = content(mode, form, size, extra)
        if written is None:
            return
        place_pictures(folder)
        (folder / "pictures/red" / f"odd.{form}").write_bytes(written)
        train_and_predict(folder, f"odd.{form}")

    campaign.run(pictures(), check, inputs=150)


def test_the_contrast_of_every_mode_arrives(campaign: Campaign):
    """What is read of a ramp is a ramp: neither white nor black nor upside down."""
    from softprompt.core.base.errors import UserError
    from softprompt.core.data.pictures import FileReader

    def check(case: tuple, folder: Path) -> None:
        mode, form, size, extra = case
        written = content(mode, form, size, extra)
        if written is None or size[0] * size[1] < 1000:
            return
        (folder / f"odd.{form}").write_bytes(written)
        try:
            read = np.asarray(FileReader(str(folder))(f"odd.{form}").convert("L"), dtype=float)
        except UserError as error:
            assert f"odd.{form}" in str(error) and "\n" not in str(error), error
            return
        wanted = np.asarray(ramp(size).convert("L"), dtype=float)
        if read.shape != wanted.shape:  # turned by EXIF
            wanted = wanted.T if read.shape == wanted.T.shape else wanted
        assert read.std() > 20, f"its contrast is lost: deviation {read.std():.1f}"
        if read.shape == wanted.shape and not extra and mode != "1":  # which is dithered
            same = np.corrcoef(read.ravel(), wanted.ravel())[0, 1]
            assert same > 0.8, f"it is another picture: correlation {same:.2f}"

    campaign.run(pictures(), check, inputs=200)


def bomb(width: int, height: int) -> bytes:
    """Return the header of a PNG file that says so many pixels."""
    import zlib

    data = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    crc = zlib.crc32(b"IHDR" + data)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + data + struct.pack(">I", crc)


ODD = {
    "empty.png": b"",
    "text.jpg": b"This is no picture.\n",
    "page.png": b"<!DOCTYPE html><html>404</html>",
    "pointer.png": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n",
    "huge.png": bomb(60_000, 60_000),
    "wide.png": bomb(2_000_000_000, 1),
    "none.png": bomb(0, 0),
    "vector.png": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "script.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n",
}


def test_files_that_are_no_pictures(campaign: Campaign):
    def check(name: str, folder: Path) -> None:
        place_pictures(folder)
        (folder / "pictures/red" / name).write_bytes(ODD[name])
        train_and_predict(folder, name)

    campaign.run(st.sampled_from(sorted(ODD)), check, inputs=len(ODD))


def test_things_with_the_name_of_a_picture(campaign: Campaign):
    """A pipe, a device, a socket or a broken link is no picture: nothing waits for it."""

    def check(kind: str, folder: Path) -> None:
        place_pictures(folder)
        odd = folder / "pictures/red/odd.png"
        if kind == "pipe":
            os.mkfifo(odd)
        elif kind == "folder":
            odd.mkdir()
        else:
            odd.symlink_to(
                {"device": "/dev/zero", "broken": "nowhere.png", "loop": "odd.png"}[kind]
            )
        outcome = run("train", *FOLDER, cwd=folder, timeout=30)
        judge(outcome)
        if kind == "pipe":
            outcome = run("predict", "run", "pictures/red/odd.png", cwd=folder, timeout=20)
            judge(outcome)

    campaign.run(st.sampled_from(["pipe", "folder", "device", "broken", "loop"]), check, inputs=5)


def test_damaged_pictures(campaign: Campaign):
    def check(case: tuple, folder: Path) -> None:
        form, damage = case
        place_pictures(folder)
        name = f"odd.{form}"
        file = folder / "pictures/red" / name
        ramp((60, 50)).save(file)
        apply(file, damage)
        if file.is_file():
            train_and_predict(folder, name)

    campaign.run(st.tuples(st.sampled_from(FORMATS), damages()), check, inputs=80)
