import numpy as np
import pytest
import torch
from PIL import Image

from softprompt.core.data.batches import Batches
from softprompt.core.data.dataset import Item
from softprompt.core.data.fewshot import balanced_sample
from softprompt.core.data.transforms import Preprocessing, evaluation_transform, training_transform

CLIP = Preprocessing((32, 32), (0.5, 0.4, 0.3), (0.2, 0.2, 0.2))
ITEMS = [Item(f"{number}.png", number % 3) for number in range(10)]


def read(path: str) -> Image.Image:
    generator = np.random.default_rng(int(path.split(".")[0]))
    return Image.fromarray(generator.integers(0, 255, (48, 64, 3), dtype=np.uint8))


def batches(workers: int = 0, seed: int | None = 5, transform=None) -> Batches:
    transform = transform or training_transform(
        ("random_resized_crop", "random_flip", "normalize"), CLIP, (0.5, 1.0)
    )
    return Batches(ITEMS, read, transform, batch_size=4, workers=workers, seed=seed)


def pictures(loader: Batches, epoch: int) -> torch.Tensor:
    return torch.cat([batch.images for batch in loader.epoch(epoch)])


def test_an_epoch_is_the_same_whatever_came_before_and_whoever_reads():
    torch.manual_seed(0)
    alone = pictures(batches(), 3)
    torch.manual_seed(1)
    loader = batches(workers=2)
    pictures(loader, 0)
    assert torch.equal(pictures(loader, 3), alone)
    assert not torch.equal(pictures(loader, 4), alone)


def test_loading_leaves_the_methods_random_stream_alone():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    pictures(batches(), 0)
    assert torch.equal(torch.rand(3), expected)


def test_training_drops_the_rest_and_testing_keeps_order_and_all():
    assert [len(batch.labels) for batch in batches().epoch(0)] == [4, 4]
    plain = evaluation_transform(("normalize",), CLIP)
    tested = list(batches(seed=None, transform=plain).epoch())
    assert [len(batch.labels) for batch in tested] == [4, 4, 2]
    assert torch.cat([batch.labels for batch in tested]).tolist() == [i.label for i in ITEMS]


def test_a_set_smaller_than_a_batch_is_one_batch():
    transform = evaluation_transform((), CLIP)
    loader = Batches(ITEMS[:3], read, transform, batch_size=4, seed=1)
    assert [len(batch.labels) for batch in loader.epoch(0)] == [3]


def test_the_test_transform_is_clips():
    picture = read("1.png")
    ours = evaluation_transform(("normalize",), CLIP)(picture)
    from torchvision import transforms

    theirs = transforms.Compose(
        [
            transforms.Resize(32, transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(32),
            transforms.ToTensor(),
            transforms.Normalize(CLIP.mean, CLIP.std),
        ]
    )(picture)
    assert torch.equal(ours, theirs)


def test_a_squashing_backbone_sees_the_whole_picture():
    squash = Preprocessing((32, 32), CLIP.mean, CLIP.std, "bilinear", squash=True)
    picture = read("1.png")
    seen = evaluation_transform((), squash)(picture)
    assert seen.shape == (3, 32, 32)
    assert not torch.equal(seen, evaluation_transform((), CLIP)(picture))


@pytest.mark.parametrize(("count", "each"), [(3, [1, 1, 1]), (7, [3, 2, 2]), (0, [4, 3, 3])])
def test_a_sample_is_balanced_and_fixed(count, each):
    chosen = balanced_sample(ITEMS, count)
    assert sorted((sum(i.label == c for i in chosen) for c in range(3)), reverse=True) == each
    assert chosen == balanced_sample(ITEMS, count)
    assert chosen == [item for item in ITEMS if item in chosen]
