"""From items to batches: transforms, and loaders whose every draw depends on the seed alone."""

from collections.abc import Callable, Iterator

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision import transforms

from softprompt.core.dataset import Item
from softprompt.core.errors import UserError
from softprompt.core.seeding import derive, seeded
from softprompt.core.trainer import Batch

INTERPOLATION = {
    "bicubic": transforms.InterpolationMode.BICUBIC,
    "bilinear": transforms.InterpolationMode.BILINEAR,
    "nearest": transforms.InterpolationMode.NEAREST,
}
TRAINING_TRANSFORMS = ("random_resized_crop", "random_flip", "normalize")


class ImageItems(Dataset):
    """The pictures of some items; what loader workers unpickle, so it knows no plugin.

    It is indexed by (epoch, position), and what augmentation draws depends on these two and the
    seed: neither the number of workers nor an interruption changes a picture.
    """

    def __init__(self, items: list[Item], read: Callable, transform: Callable, seed: int = 0):
        self.items = items
        self.read = read
        self.transform = transform
        self.seed = seed

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, int]:
        epoch, position = key
        item = self.items[position]
        with seeded(self.seed, "augment", epoch, position):
            return self.transform(self.read(item.path)), item.label


class _Order(Sampler):
    """Positions paired with an epoch: shuffled by seed and epoch, or as they stand."""

    def __init__(self, count: int, seed: int | None):
        self.count = count
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[tuple[int, int]]:
        if self.seed is None:
            order = range(self.count)
        else:
            generator = torch.Generator().manual_seed(derive(self.seed, "order", self.epoch))
            order = torch.randperm(self.count, generator=generator).tolist()
        return iter([(self.epoch, position) for position in order])


class Batches:
    """Batches of one item list; ``epoch(n)`` iterates over them in that epoch's order."""

    def __init__(
        self,
        items: list[Item],
        read: Callable,
        transform: Callable,
        *,
        batch_size: int,
        workers: int = 0,
        seed: int | None = None,
        device: torch.device | str = "cpu",
    ):
        """Make the loader.

        Args:
            seed: shuffle and augment from this seed, and drop a last smaller batch if there is a
                full one, as Dassl does; None: in order, complete, for evaluation.
        """
        self.device = torch.device(device)
        self.order = _Order(len(items), seed)
        self.loader = DataLoader(
            ImageItems(items, read, transform, seed or 0),
            batch_size=batch_size,
            sampler=self.order,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self.device.type == "cuda",
            drop_last=seed is not None and len(items) >= batch_size,
            generator=torch.Generator().manual_seed(0),  # else each epoch draws from the global one
        )

    def __len__(self) -> int:
        return len(self.loader)

    def epoch(self, epoch: int = 0) -> Iterator[Batch]:
        self.order.epoch = epoch
        try:
            for images, labels in self.loader:
                yield Batch(
                    images.to(self.device, non_blocking=True),
                    labels.to(self.device, non_blocking=True),
                )
        except UserError as error:  # from a worker it arrives wrapped in that worker's traceback
            raise UserError(str(error).strip().splitlines()[-1].split("UserError: ")[-1]) from None


def training_transform(node, size, mean, std) -> Callable[[Image.Image], torch.Tensor]:
    """The augmentation that ``INPUT`` describes, in Dassl's fixed order."""
    unknown = [name for name in node.TRANSFORMS if name not in TRAINING_TRANSFORMS]
    if unknown:
        raise UserError(
            f"INPUT.TRANSFORMS names {unknown[0]!r}; there are {', '.join(TRAINING_TRANSFORMS)}"
        )
    interpolation = INTERPOLATION[node.INTERPOLATION]
    if "random_resized_crop" in node.TRANSFORMS:
        steps = [transforms.RandomResizedCrop(size, node.RRCROP_SCALE, interpolation=interpolation)]
    else:
        steps = [transforms.Resize(size, interpolation)]
    if "random_flip" in node.TRANSFORMS:
        steps.append(transforms.RandomHorizontalFlip())
    return transforms.Compose([*steps, *_to_tensor(node, mean, std)])


def test_transform(node, size, mean, std) -> Callable[[Image.Image], torch.Tensor]:
    """Resize the shorter side and crop the centre, as CLIP's own preprocessing does."""
    return transforms.Compose(
        [
            transforms.Resize(max(size), INTERPOLATION[node.INTERPOLATION]),
            transforms.CenterCrop(size),
            *_to_tensor(node, mean, std),
        ]
    )


def _to_tensor(node, mean, std) -> list[Callable]:
    steps = [transforms.ToTensor()]
    if "normalize" in node.TRANSFORMS:
        steps.append(transforms.Normalize(mean, std))
    return steps
