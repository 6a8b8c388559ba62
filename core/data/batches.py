"""From items to batches, by loaders whose every draw depends on the seed alone."""

from collections.abc import Callable, Iterator
from copy import copy

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from softprompt.core.base import parallel
from softprompt.core.base.errors import UserError
from softprompt.core.base.seeding import derive, seeded
from softprompt.core.data.batch import Batch
from softprompt.core.data.dataset import Item
from softprompt.core.data.pictures import SizeLimitedCache


class ImageItems(Dataset):
    """The images of some items. Loader workers unpickle it, so it refers to no plugin.

    It is indexed by (view, position). Augmentation draws from a generator seeded by these two and
    the seed, so neither the number of workers nor an interruption changes an image.
    """

    def __init__(self, items: list[Item], read: Callable, transform: Callable, seed: int = 0):
        self.items = items
        self.read = read
        self.transform = transform
        self.seed = seed
        self.load: Callable = self.view  # Batches may replace it by a cached version

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, key: tuple[int, int]) -> torch.Tensor:
        return self.load(key)

    def view(self, key: tuple[int, int]) -> torch.Tensor:
        """Return an augmented view of an item's picture."""
        view, position = key
        with seeded(self.seed, "augment", view, position):
            return self.transform(self.read(self.items[position].path))


class _Plan(Sampler):
    """The batches to load next, as lists of the (view, position) that this process reads."""

    def __init__(self, batches: int):
        self.count = batches
        self.batches: list[list[tuple[int, int]]] = []

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return iter(self.batches)


class Batches:
    """Batches of one item list; ``epoch(n)`` iterates over them in that epoch's order.

    Of several processes each reads its shard of a batch and is given the whole.
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
        views: int = 0,
        memory: float = 0.0,
        device: torch.device | str = "cpu",
    ):
        """Create the loader.

        Args:
            seed: shuffle from this seed, and drop a last smaller batch if there is a full one, as
                Dassl does; None: in order, complete, for evaluation.
            augment_seed: of the transform's draws; None: ``seed``.
            views: the epochs take turns with so many views of each picture; 0: each epoch draws
                views of its own.
            memory: gigabytes for cached views.
        """
        self.device = torch.device(device)
        self.seed = seed
        self.views = views
        self.batch_size = batch_size
        drawn = seed if augment_seed is None else augment_seed
        self.images = ImageItems(items, read, transform, drawn or 0)
        if views and memory:
            self.images.load = SizeLimitedCache(self.images.view, memory / max(1, workers))
        self.workers = workers
        self._make_loader()

    def _make_loader(self) -> None:
        self.plan = _Plan(len(self.positions(0)))
        self.loader = DataLoader(
            self.images,
            batch_sampler=self.plan,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator().manual_seed(0),  # else each epoch draws from the global one
        )

    def in_order(self) -> "Batches":
        """Return batches of the same views of all items, in the order of the list."""
        ordered = copy(self)
        ordered.seed = None
        ordered._make_loader()
        return ordered

    def __len__(self) -> int:
        return len(self.plan)

    def view(self, epoch: int) -> int:
        """Return the number of the view that an epoch shows."""
        return epoch % self.views if self.views else epoch

    def positions(self, epoch: int) -> list[list[int]]:
        """Return the positions in the item list of each batch of an epoch."""
        count, size = len(self.images), self.batch_size
        if self.seed is None:
            order = list(range(count))
        else:
            generator = torch.Generator().manual_seed(derive(self.seed, "order", epoch))
            order = torch.randperm(count, generator=generator).tolist()
            if count >= size:
                order = order[: count // size * size]
        return [order[start : start + size] for start in range(0, len(order), size)]

    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch, without the first ``start`` ones."""
        return self.load(self.positions(epoch)[start:], self.view(epoch))

    def load(self, batches: list[list[int]], view: int = 0) -> Iterator[Batch]:
        """Yield batches of the items at these positions."""
        self.plan.batches = [
            [(view, position) for position in parallel.own_shard(batch)] for batch in batches
        ]
        try:
            for positions, own in zip(batches, self.loader, strict=True):
                yield self.labelled(self._whole(own, len(positions)), positions)
        except UserError as error:  # from a worker it arrives wrapped in that worker's traceback
            raise UserError(str(error).strip().splitlines()[-1].split("UserError: ")[-1]) from None

    def labelled(self, images: torch.Tensor, positions: list[int]) -> Batch:
        """Return the batch of the images at these positions."""
        labels = torch.tensor([self.images.items[position].label for position in positions])
        return Batch(images, labels.to(self.device, non_blocking=True), labels)

    def _whole(self, own: torch.Tensor, total: int) -> torch.Tensor:
        own = own.to(self.device, non_blocking=True)
        return parallel.all_gather(own, total) if parallel.is_sharded(total) else own
