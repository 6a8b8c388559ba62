"""Pictures of every mode and depth that Pillow opens, each with its contrast."""

import os
import pickle

import numpy as np
import pytest
from PIL import Image

from softprompt.core.base.errors import UserError
from softprompt.core.config.schema import defaults
from softprompt.core.data.dataset import Item, missing_files
from softprompt.core.data.decoding import Decoding
from softprompt.core.data.pictures import (
    FileReader,
    JpegReader,
    list_pictures,
    picture_fingerprint,
)

RAMP = np.linspace(0, 1, 16).reshape(4, 4).repeat(4, 0).repeat(4, 1)  # 16 fields, dark to bright


def grey() -> Image.Image:
    return Image.fromarray((255 * RAMP).round().astype(np.uint8))


def deep(dtype, white: float) -> Image.Image:
    return Image.fromarray((white * RAMP).round().astype(dtype))


def read(file, **options) -> np.ndarray:
    reader = FileReader(str(file.parent))
    reader.decoding = Decoding(**options)
    image = reader(file.name)
    assert image.mode == "RGB" and image.size[0] > 0
    return np.asarray(image).astype(int)


def saved(image: Image.Image, file, **options):
    image.save(file, **options)
    return file


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [
        *((mode, "png") for mode in ("1", "L", "LA", "P", "RGB", "RGBA")),
        *((mode, "jpg") for mode in ("L", "RGB", "CMYK")),
        *((mode, "tif") for mode in ("L", "CMYK", "YCbCr", "LAB", "RGBA", "PA", "LA")),
        *((mode, "webp") for mode in ("RGB", "RGBA")),
        *(("L", suffix) for suffix in ("gif", "bmp", "pgm", "ppm")),
    ],
)
def test_eight_bits_are_read_as_pillow_reads_them(mode, suffix, tmp_path):
    start = grey() if mode in ("1", "L", "LA", "P", "PA") else grey().convert("RGB")
    file = saved(start.convert(mode), tmp_path / f"a.{suffix}")
    with Image.open(file) as opened:
        expected = np.asarray(opened.convert("RGB")).astype(int)
    found = read(file)
    assert (found == expected).all()
    assert found.min() < 40 and found.max() > 215
    reader = FileReader(str(tmp_path))
    assert picture_fingerprint(reader, file.name) == picture_fingerprint(reader, file.name)


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
@pytest.mark.parametrize("dtype", ["<u2", ">u2"])
def test_sixteen_bits_keep_their_contrast(suffix, dtype, tmp_path):
    file = tmp_path / f"a.{suffix}"
    if suffix == "pgm":
        data = (65535 * RAMP).round().astype(">u2").tobytes()
        file.write_bytes(b"P5 16 16 65535\n" + data)
    else:
        deep(dtype, 65535).save(file)
    assert abs(read(file)[..., 0] - 255 * RAMP).max() <= 1


@pytest.mark.parametrize("dtype", ["uint16", "int32", "float32"])
def test_the_range_of_values_is_asked_for_and_taken(dtype, tmp_path):
    file = saved(deep(dtype, 4095), tmp_path / "a.tif")
    with pytest.raises(UserError) as error:
        read(file)
    assert str(error.value).startswith(f"the picture {file} (mode ")
    assert "from 0 to 4095" in str(error.value) and "\n" not in str(error.value)
    usual = '"(0, 4095)"'
    assert str(error.value).endswith(f"such as INPUT.VALUE_RANGE {usual}")
    assert abs(read(file, value_range=(0, 4095))[..., 0] - 255 * RAMP).max() <= 1
    assert abs(read(file, value_range=(4095, 0))[..., 0] - 255 * (1 - RAMP)).max() <= 1
    assert read(file, value_range=(1000, 2000)).max() == 255


@pytest.mark.parametrize(
    ("dtype", "low", "high", "said"),
    [
        ("uint16", 7, 900, "(0, 1023)"),
        ("int32", 100, 70_000, "(0, 131071)"),
        ("int32", -1024, 3071, "(-1024, 3071)"),
        ("float32", 0.25, 0.75, "(0, 1)"),
        ("float32", 0.5, 300.5, "(0.5, 300.5)"),
    ],
)
def test_the_range_that_is_proposed(dtype, low, high, said, tmp_path):
    values = (low + (high - low) * RAMP).astype(dtype)
    with pytest.raises(UserError) as error:
        read(saved(Image.fromarray(values), tmp_path / "a.tif"))
    assert str(error.value).endswith(f'"{said}"')


def test_numbers_that_are_none_are_black(tmp_path):
    values = RAMP.astype(np.float32)
    values[0, 0] = np.nan
    file = saved(Image.fromarray(values), tmp_path / "a.tif")
    assert read(file, value_range=(-1, 1))[0, 0, 0] == 128  # as 0


def test_an_even_picture_of_sixteen_bits_has_no_contrast_to_lose(tmp_path):
    assert read(saved(Image.new("I;16", (4, 4), 300), tmp_path / "a.png")).max() == 1


@pytest.mark.parametrize(("colour", "ground"), [(0, 255), (255, 0), (60, 255)])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_a_shape_of_transparency_alone_is_seen(mode, colour, ground, tmp_path):
    image = Image.new("L", (16, 16), colour)
    if mode == "P":
        image = Image.new("P", (16, 16), 0)
        image.putpalette([colour] * 6)
        image.paste(1, (0, 0, 8, 16))
        file = saved(image, tmp_path / "a.png", transparency=bytes([0, 255]))
    else:
        mask = Image.new("L", (16, 16), 0)
        mask.paste(255, (0, 0, 8, 16))
        image = image.convert("RGB" if mode == "RGBA" else "L")
        image.putalpha(mask)
        file = saved(image, tmp_path / "a.png")
    found = read(file)
    assert (found[:, :8] == colour).all() and (found[:, 8:] == ground).all()


def test_animations_and_pages_show_their_first(tmp_path):
    first, second = grey().convert("RGB"), Image.new("RGB", (16, 16), "red")
    for suffix in ("gif", "png", "webp", "tif"):
        options = {"lossless": True} if suffix == "webp" else {}
        file = tmp_path / f"a.{suffix}"
        first.save(file, save_all=True, append_images=[second], **options)
        assert abs(read(file) - np.asarray(first)).max() <= 8


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_exif_orientation_turns_a_picture_if_asked(suffix, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {"lossless": True} if suffix == "webp" else {"quality": 95}
    file = saved(
        grey().convert("RGB").resize((16, 8)), tmp_path / f"a.{suffix}", exif=exif, **options
    )
    assert read(file).shape == (8, 16, 3)
    assert read(file, exif_orientation=True).shape == (16, 8, 3)
    files = FileReader(str(tmp_path))
    before = picture_fingerprint(files, file.name)
    files.decoding = Decoding(exif_orientation=True)
    reader = pickle.loads(pickle.dumps(JpegReader(files)))  # noqa: S301
    assert reader(file.name).size == (8, 16)
    assert picture_fingerprint(files, file.name) != before


def test_stored_features_of_a_deep_picture_are_those_of_its_range(tmp_path):
    saved(deep("uint16", 65535), tmp_path / "a.png")
    files = FileReader(str(tmp_path))
    first = picture_fingerprint(files, "a.png")
    files.decoding = Decoding((0, 30000))
    assert picture_fingerprint(files, "a.png") != first


@pytest.mark.parametrize("given", [(1,), (1, 1), ("a", "b"), (0, True)])
def test_a_range_is_two_numbers(given):
    node = defaults().INPUT
    node.VALUE_RANGE = given
    with pytest.raises(UserError, match="INPUT.VALUE_RANGE is .*takes two numbers"):
        Decoding.of(node)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.gif", "a.webp", "a.bmp"])
def test_what_is_no_picture_is_one_line_with_its_name(name, tmp_path):
    file = tmp_path / name
    grey().save(file)
    whole = file.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:12], b"", b"my notes\n", os.urandom(500)):
        file.write_bytes(content)
        try:
            read(file)
        except UserError as error:
            assert str(file) in str(error) and "\n" not in str(error)
        else:
            assert content == whole[: len(whole) // 2]  # some formats show what there is


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_only_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.jpg").mkdir()
    for name, kind in (("pipe.png", "a pipe"), ("folder.jpg", "a folder")):
        for read in (FileReader(str(tmp_path)), JpegReader(FileReader(str(tmp_path)))):
            with pytest.raises(UserError, match=f"{name} is no picture, but {kind}"):
                read(name)
    with pytest.raises(UserError, match="zero is no picture, but a pipe, a device"):
        FileReader("/dev")("zero")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_only_files_and_links_are_listed(tmp_path):
    grey().save(tmp_path / "b.png")
    (tmp_path / "a.png").symlink_to(tmp_path / "b.png")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    assert list_pictures(tmp_path) == ["a.png", "b.png"]
    assert missing_files(tmp_path, [Item("pipe.png", 0), Item("a.png", 0)]) == ["pipe.png"]
