"""Batches whose features without prompts need not be computed: they are known, or soon are."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import torch
from torch import Tensor

from softprompt.core.clip.fast.store import FeatureStore, key_of
from softprompt.core.clip.frozen import FrozenCLIP
from softprompt.core.data.batch import Batch
from softprompt.core.data.batches import Batches


class StoredBatches:
    """Batches whose plain features stand in a store, or go there when CLIP has computed them.

    A batch is stored as a whole, so what comes out of the store is what the same batch would give
    to the bit.
    """

    def __init__(
        self,
        batches: Batches,
        clip: FrozenCLIP,
        store: FeatureStore,
        content: Callable[[str], str],
    ):
        """Watch over them.

        Args:
            content: returns a hash of the picture of an ``Item.path``.
        """
        self.batches = batches
        self.clip = clip
        self.store = store
        self.content = content

    def epoch(self, epoch: int = 0, pictures: bool = True) -> Iterator[Batch]:
        """Yield the batches.

        Args:
            pictures: False: nothing but the plain features is asked for, so pictures whose
                features are there are not read; their images are on the meta device, without data.
        """
        view = self.batches.view(epoch)
        plan = self.batches.positions(epoch)
        keys = [self._key(positions, view) for positions in plan]
        known = [None if pictures else self.store.get(key) for key in keys]
        missing = [positions for positions, found in zip(plan, known, strict=True) if found is None]
        read = self.batches.load(missing, view)
        for positions, key, found in zip(plan, keys, known, strict=True):
            batch = next(read) if found is None else self._without_pictures(positions)
            source = partial(self.store.remembered, key) if found is None else lambda _, f=found: f
            self.clip.expect(batch.images, source)
            yield batch

    def _key(self, positions: list[int], view: int) -> str:
        pictures = self.batches.pictures
        contents = [self.content(pictures.items[position].path) for position in positions]
        drawn = (pictures.seed, view, positions) if self.batches.views else ()
        return key_of("images", self.clip.fingerprint, repr(pictures.transform), contents, *drawn)

    def _without_pictures(self, positions: list[int]) -> Batch:
        items = self.batches.pictures.items
        labels = torch.tensor([items[position].label for position in positions])
        images = torch.empty(len(positions), 3, *self.clip.image_size, device="meta")
        return Batch(images, labels.to(self.clip.device))


class FixedViews:
    """Training batches of fixed views, whose plain features are computed once for all epochs."""

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

    def epoch(self, epoch: int) -> Iterator[Batch]:
        plan = self.batches.positions(epoch)
        for positions, batch in zip(plan, self.batches.epoch(epoch), strict=True):
            self.clip.expect(batch.images, partial(self._rows, self.batches.view(epoch), positions))
            yield batch

    def _rows(self, view: int, positions: list[int], _) -> Tensor:
        if view not in self._features:
            found = [self.clip.encode_image(batch.images) for batch in self.ordered(view)]
            self._features[view] = torch.cat(found)
        return self._features[view][positions]
