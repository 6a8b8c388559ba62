"""From items to batches: transforms, and loaders whose every draw depends on the seed alone."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from PIL import Image
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler
from torchvision import transforms

from softprompt.core import parallel
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


class _Parts:
    """What this process reads of each batch."""

    def __init__(self, batches: BatchSampler):
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for batch in self.batches:
            yield batch[parallel.part(len(batch))] if parallel.divides(len(batch)) else batch


class Batches:
    """Batches of one item list; ``epoch(n)`` iterates over them in that epoch's order.

    Several processes read a part of each batch and are given the whole.
    """

    def __init__(
        self,
        items: list[Item],
        read: Callable,
        transform: Callable,
        *,
        batch_size: int,
        workers: int = 0,
        seed: int | None = None,
        augment_seed: int | None = None,
        device: torch.device | str = "cpu",
    ):
        """Make the loader.

        Args:
            seed: shuffle from this seed, and drop a last smaller batch if there is a full one, as
                Dassl does; None: in order, complete, for evaluation.
            augment_seed: of the transform's draws; None: ``seed``.
        """
        self.device = torch.device(device)
        self.order = _Order(len(items), seed)
        self.batch_size = batch_size
        drawn = seed if augment_seed is None else augment_seed
        self.loader = DataLoader(
            ImageItems(items, read, transform, drawn or 0),
            batch_sampler=_Parts(
                BatchSampler(
                    self.order, batch_size, drop_last=seed is not None and len(items) >= batch_size
                )
            ),
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator().manual_seed(0),  # else each epoch draws from the global one
        )

    def __len__(self) -> int:
        return len(self.loader)

    def epoch(self, epoch: int = 0) -> Iterator[Batch]:
        self.order.epoch = epoch
        try:
            for index, (images, labels) in enumerate(self.loader):
                total = min(self.batch_size, self.order.count - index * self.batch_size)
                yield Batch(self._whole(images, total), self._whole(labels, total))
        except UserError as error:  # from a worker it arrives wrapped in that worker's traceback
            raise UserError(str(error).strip().splitlines()[-1].split("UserError: ")[-1]) from None

    def _whole(self, own: torch.Tensor, total: int) -> torch.Tensor:
        own = own.to(self.device, non_blocking=True)
        return parallel.gathered(own, total) if parallel.divides(total) else own


def training_transform(
    names: tuple[str, ...], preprocessing: "Preprocessing", crop_scale: tuple[float, float]
) -> Callable[[Image.Image], torch.Tensor]:
    """The augmentation of these names, in Dassl's fixed order.

    Raises:
        UserError: there is no transform of a name.
    """
    unknown = [name for name in names if name not in TRAINING_TRANSFORMS]
    if unknown:
        raise UserError(
            f"INPUT.TRANSFORMS names {unknown[0]!r}; there are {', '.join(TRAINING_TRANSFORMS)}"
        )
    size, interpolation = preprocessing.size, INTERPOLATION[preprocessing.interpolation]
    if "random_resized_crop" in names:
        steps = [transforms.RandomResizedCrop(size, crop_scale, interpolation=interpolation)]
    else:
        steps = [transforms.Resize(size, interpolation)]
    if "random_flip" in names:
        steps.append(transforms.RandomHorizontalFlip())
    return transforms.Compose([*steps, *_to_tensor(names, preprocessing)])


def evaluation_transform(
    names: tuple[str, ...], preprocessing: "Preprocessing"
) -> Callable[[Image.Image], torch.Tensor]:
    """What the backbone was trained on: for CLIP, the shorter side resized, then the centre."""
    size, interpolation = preprocessing.size, INTERPOLATION[preprocessing.interpolation]
    if preprocessing.squash:
        steps = [transforms.Resize(size, interpolation)]
    else:
        steps = [transforms.Resize(max(size), interpolation), transforms.CenterCrop(size)]
    return transforms.Compose([*steps, *_to_tensor(names, preprocessing)])


@dataclass(frozen=True)
class Preprocessing:
    """How a backbone wants its pictures."""

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bicubic"
    squash: bool = False  # resize both sides, instead of cutting a centre out

    @classmethod
    def of(cls, clip, node) -> "Preprocessing":
        """The backbone's own, but for what ``INPUT`` sets.

        Raises:
            UserError: ``INPUT.SIZE`` is not the size that the backbone reads.
        """
        given = tuple(node.SIZE)
        if given and given != clip.image_size:
            raise UserError(
                f"INPUT.SIZE is {given}, but {clip.name} reads {clip.image_size}; "
                "leave INPUT.SIZE out"
            )
        visual = clip.model.visual
        own = getattr(visual, "preprocess_cfg", {})
        return cls(
            size=clip.image_size,
            mean=tuple(node.PIXEL_MEAN or visual.image_mean),
            std=tuple(node.PIXEL_STD or visual.image_std),
            interpolation=node.INTERPOLATION or own.get("interpolation", "bicubic"),
            squash=own.get("resize_mode") == "squash",
        )


def _to_tensor(names: tuple[str, ...], preprocessing: Preprocessing) -> list[Callable]:
    steps = [transforms.ToTensor()]
    if "normalize" in names:
        steps.append(transforms.Normalize(preprocessing.mean, preprocessing.std))
    return steps
