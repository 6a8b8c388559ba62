"""INPUT.BACKEND torchvision: the pixels of Pillow, resized to within one level."""

import numpy as np
import pytest
import torch
from PIL import Image

from softprompt.core.base.errors import UserError
from softprompt.core.base.seeding import seeded
from softprompt.core.data.pictures import FileReader, JpegReader
from softprompt.core.data.transforms import Preprocessing, evaluation_transform, training_transform

KINDS = [("RGB", "jpg"), ("L", "jpeg"), ("CMYK", "jpg"), ("RGB", "png"), ("P", "png")]


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
    found = JpegReader(str(tmp_path))(f"a.{suffix}")
    by_torchvision = suffix != "png" and mode != "CMYK"
    assert isinstance(found, torch.Tensor if by_torchvision else Image.Image)
    assert torch.equal(found if by_torchvision else to_tensor(found), expected)


@pytest.mark.parametrize("keep", [300, 0])
def test_a_damaged_file_is_told_of_in_the_usual_words(keep, tmp_path):
    picture().save(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:keep])
    said = []
    for reader in (FileReader, JpegReader):
        with pytest.raises(UserError) as error:
            reader(str(tmp_path))("a.jpg")
        said.append(str(error.value))
    assert said[0] == said[1]
    with pytest.raises(UserError, match="no such picture: .*b.jpg"):
        JpegReader(str(tmp_path))("b.jpg")


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
