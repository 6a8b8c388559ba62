"""Turn tasks into tensors for the towers: each picture is decoded once, features are cached."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from softprompt.core.base.seeding import seeded
from softprompt.core.meta.clusters.encode import Transform
from softprompt.core.meta.clusters.features import PairFeatures
from softprompt.core.meta.pairs.base import Pairs
from softprompt.core.meta.tasks import Task, TaskPart, TaskSampler


class Part(NamedTuple):
    """Labelled pictures of a task."""

    images: Tensor | None  # (n, 3, height, width); None if the learner has no image prompts
    features: Tensor  # (n, dim), unit length, of CLIP without prompts
    labels: Tensor  # (n,)
    classnames: tuple[str, ...]


class Episode(NamedTuple):
    """A task as tensors."""

    support: Part
    same: Part  # the support's classes in another domain
    other: Part  # other classes

    @property
    def condition(self) -> Tensor:
        """The task condition ``(dim,)``: the support's mean feature."""
        return self.support.features.mean(0)


class Episodes:
    """The tasks of a sampler as episodes, by index.

    Augmentation depends on the seed and the index alone, so an interrupted run continues as it
    would have, with any number of workers.
    """

    def __init__(
        self,
        sampler: TaskSampler,
        pairs: Pairs,
        features: PairFeatures,
        *,
        transform: Transform | None,
        seed: int = 0,
        workers: int = 0,
        device: torch.device | str = "cpu",
    ):
        """Combine tasks, pictures and features.

        Args:
            transform: from a picture to the towers' input; None: pictures are not read.
            seed: of augmentation.
            workers: processes that read pictures; 0: the main one does.
        """
        self.tasks = _Tasks(sampler, pairs if transform else None, transform, seed)
        self.features = features.image
        self.workers = workers
        self.device = torch.device(device)

    def draw(self, indices: Sequence[int]) -> Iterator[Episode]:
        """Yield the episodes of some tasks, in order."""
        loader = DataLoader(
            self.tasks,
            batch_size=None,
            sampler=list(indices),
            num_workers=self.workers if self.tasks.pairs is not None else 0,
            generator=torch.Generator().manual_seed(0),  # else it draws from the global one
        )
        for task, images in loader:
            parts = (task.support, task.query_same, task.query_other)
            yield Episode(*(self._part(p, i) for p, i in zip(parts, images, strict=True)))

    def _part(self, part: TaskPart, images: Tensor | None) -> Part:
        return Part(
            None if images is None else images.to(self.device, non_blocking=True),
            self.features[list(part.pairs)].float().to(self.device),
            torch.tensor(part.labels, device=self.device),
            part.classnames,
        )


class _Tasks(Dataset):
    """Tasks and their pictures by index; loader workers unpickle this."""

    def __init__(
        self,
        sampler: TaskSampler,
        pairs: Pairs | None,
        transform: Transform | None,
        seed: int,
    ):
        self.sampler = sampler
        self.pairs = pairs
        self.transform = transform
        self.seed = seed

    def __len__(self) -> int:
        return 1  # unused: the loader is given the indices

    def __getitem__(self, index: int) -> tuple[Task, tuple[Tensor | None, ...]]:
        task = self.sampler.draw(index)
        parts = (task.support, task.query_same, task.query_other)
        if self.pairs is None or self.transform is None:
            return task, (None,) * len(parts)
        read = self.pairs.image
        with seeded(self.seed, "augment", index):
            images = [
                torch.stack([self.transform(read(pair)) for pair in part.pairs]) for part in parts
            ]
        return task, tuple(images)
