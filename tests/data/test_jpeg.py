"""INPUT.BACKEND torchvision: the pixels of Pillow, resized to within one level."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from softprompt.core.base.errors import UserError
from softprompt.core.base.seeding import seeded
from softprompt.core.data.pictures import FileReader, JpegReader
from softprompt.core.data.transforms import Preprocessing, evaluation_transform, training_transform

KINDS = [("RGB", "jpg"), ("L", "jpeg"), ("CMYK", "jpg"), ("RGB", "png"), ("P", "png")]


def jpeg_reader(folder) -> JpegReader:
    return JpegReader(FileReader(str(folder)))


def to_tensor(image: Image.Image) -> torch.Tensor:
    from torchvision.transforms.functional import pil_to_tensor

    return pil_to_tensor(image)


def picture(size: tuple[int, int] = (71, 50)) -> Image.Image:
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 255, (9, 12, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.BICUBIC)


@pytest.mark.parametrize(("mode", "suffix"), KINDS)
def test_decoded_pixels_are_pillows(mode, suffix, tmp_path):
    picture().convert(mode).save(tmp_path / f"a.{suffix}")
    expected = to_tensor(FileReader(str(tmp_path))(f"a.{suffix}"))
    found = jpeg_reader(tmp_path)(f"a.{suffix}")
    by_torchvision = suffix != "png" and mode != "CMYK"
    assert isinstance(found, torch.Tensor if by_torchvision else Image.Image)
    assert torch.equal(found if by_torchvision else to_tensor(found), expected)


@pytest.mark.parametrize("keep", [300, 0])
def test_a_damaged_file_is_told_of_in_the_usual_words(keep, tmp_path):
    picture().save(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:keep])
    said = []
    for read in (FileReader(str(tmp_path)), jpeg_reader(tmp_path)):
        with pytest.raises(UserError) as error:
            read("a.jpg")
        said.append(str(error.value))
    assert said[0] == said[1]
    with pytest.raises(UserError, match="no such picture: .*b.jpg"):
        jpeg_reader(tmp_path)("b.jpg")


@pytest.mark.parametrize("size", [(71, 50), (40, 300)])
@pytest.mark.parametrize("squash", [False, True])
def test_transforms_differ_by_one_level_at_most(size, squash):
    names, seen = ("random_resized_crop", "random_flip"), {}
    for backend in ("pil", "torchvision"):
        wanted = Preprocessing((32, 32), (0,) * 3, (1,) * 3, squash=squash, backend=backend)
        training = training_transform(names, wanted, (0.3, 1.0))
        given = picture(size) if backend == "pil" else to_tensor(picture(size))
        seen[backend] = [evaluation_transform(names, wanted)(given)]
        for seed in range(8):
            with seeded(seed, "augment"):
                seen[backend].append(training(given))
    for pil, torchvision in zip(*seen.values(), strict=True):
        assert type(torchvision) is torch.Tensor
        assert (pil - torchvision).abs().max() <= 1.01 / 255


def test_normalization_is_the_same():
    means, deviations = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    wanted = Preprocessing((50, 71), means, deviations, backend="torchvision", squash=True)
    found = evaluation_transform(("normalize",), wanted)(picture())
    plain = evaluation_transform((), wanted)(picture())
    mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in (means, deviations))
    torch.testing.assert_close(found, (plain - mean) / deviation)


@pytest.mark.filterwarnings("ignore:Image size")
@pytest.mark.parametrize("reader", [FileReader, lambda folder: jpeg_reader(folder)])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("limit", [6_000, 3_000, 1_000])  # the last one Pillow refuses, too
def test_a_picture_of_too_many_pixels_is_refused(reader, suffix, limit, tmp_path, monkeypatch):
    picture().save(tmp_path / f"a.{suffix}")  # 3,550 pixels
    read = reader(str(tmp_path))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10**9)
    monkeypatch.setenv("SOFTPROMPT_MAX_PIXELS", str(limit))
    if limit > 3_550:
        read(f"a.{suffix}")
        return
    with pytest.raises(UserError, match=rf"a.{suffix} has more than {limit:,} pixels.*MAX_PIXELS$"):
        read(f"a.{suffix}")
    monkeypatch.setenv("SOFTPROMPT_MAX_PIXELS", "3550")
    read(f"a.{suffix}")
    for wrong in ("many", "-1", "0"):
        monkeypatch.setenv("SOFTPROMPT_MAX_PIXELS", wrong)
        with pytest.raises(UserError, match=f"MAX_PIXELS is '{wrong}'"):
            read(f"a.{suffix}")


def test_a_hostile_header_costs_nothing(tmp_path):
    """A PNG of a hundred bytes that claims 900 million pixels, under Pillow's own limit."""
    buffer = BytesIO()
    Image.new("L", (1, 1)).save(buffer, "png")
    content = bytearray(buffer.getvalue())
    content[16:24] = struct.pack(">II", 30_000, 30_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(UserError, match="a.png has more than 89,478,485 pixels"):
        FileReader(str(tmp_path))("a.png")
