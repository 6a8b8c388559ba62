"""Batches whose unprompted features are known, or are stored once they have been computed."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import torch
from torch import Tensor

from softprompt.core.clip.fast.store import FeatureStore, key_of
from softprompt.core.clip.frozen import FrozenCLIP
from softprompt.core.data.batch import Batch
from softprompt.core.data.batches import Batches


class StoredBatches:
    """Batches whose unprompted features are read from a store, and written to it when missing.

    A batch is stored as a whole, so the stored features equal to the bit those that encoding the
    same batch gives.
    """

    def __init__(
        self,
        batches: Batches,
        clip: FrozenCLIP,
        store: FeatureStore,
        content: Callable[[str], str],
    ):
        """Join batches and store.

        Args:
            content: returns a hash of the picture of an ``Item.path``.
        """
        self.batches = batches
        self.clip = clip
        self.store = store
        self.content = content

    def epoch(self, epoch: int = 0, need_images: bool = True) -> Iterator[Batch]:
        """Yield the batches.

        Args:
            need_images: False: only unprompted features will be asked for. Pictures of stored
                batches are then not read; their images are on the meta device, without data.
        """
        view = self.batches.view(epoch)
        plan = self.batches.positions(epoch)
        keys = [self._key(positions, view) for positions in plan]
        shapes = [(len(positions), self.clip.dim) for positions in plan]
        known = [
            None if need_images else self.store.get(key, shape)
            for key, shape in zip(keys, shapes, strict=True)
        ]
        missing = [positions for positions, found in zip(plan, known, strict=True) if found is None]
        read = self.batches.load(missing, view)
        for positions, key, found in zip(plan, keys, known, strict=True):
            if found is None:
                batch = next(read)
                source = partial(self._remembered, key, batch.images)
            else:
                batch = self._without_images(positions)
                source = partial(found.to, self.clip.device)
            yield batch.with_unprompted(self.clip, source)

    def _remembered(self, key: str, images: Tensor) -> Tensor:
        shape = len(images), self.clip.dim
        found = self.store.remembered(key, lambda: self.clip.encode_image(images), shape)
        return found.to(self.clip.device)

    def _key(self, positions: list[int], view: int) -> str:
        images = self.batches.images
        contents = [self.content(images.items[position].path) for position in positions]
        drawn = (images.seed, view, positions) if self.batches.views else ()
        return key_of("images", self.clip.fingerprint, repr(images.transform), contents, *drawn)

    def _without_images(self, positions: list[int]) -> Batch:
        images = torch.empty(len(positions), 3, *self.clip.image_size, device="meta")
        return self.batches.labelled(images, positions)


class FixedViews:
    """Training batches of fixed views, whose unprompted features are computed in the first epoch.

    Each view's features are computed for all items in order and then picked for every batch.
    """

    def __init__(
        self, batches: Batches, ordered: Callable[[int], Iterable[Batch]], clip: FrozenCLIP
    ):
        """Join them.

        Args:
            ordered: returns batches of a view of all items, in order.
        """
        self.batches = batches
        self.ordered = ordered
        self.clip = clip
        self._features: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch, without the first ``start`` ones."""
        view = self.batches.view(epoch)
        plan = self.batches.positions(epoch)[start:]
        for positions, batch in zip(plan, self.batches.epoch(epoch, start), strict=True):
            yield batch.with_unprompted(self.clip, partial(self._rows, view, positions))

    def _rows(self, view: int, positions: list[int]) -> Tensor:
        if view not in self._features:
            found = [self.clip.unprompted(batch) for batch in self.ordered(view)]
            self._features[view] = torch.cat(found)
        return self._features[view][positions]
