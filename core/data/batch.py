"""What a training step or an evaluation is given at once."""

from collections.abc import Callable, Hashable, Iterator
from functools import cached_property

from torch import Tensor

from softprompt.core.clip.images import Images, Sources


class Batch(Images):
    """Images, their labels, and once known their features without prompts.

    ``model(batch)`` and ``model.zero_shot_image(batch)`` share those features; called with
    ``batch.images``, each encodes them itself. A batch unpacks as ``images, labels``, and has what
    else plugins of version 0.1 know of it, a named tuple of these two: index, length, ``_replace``.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        host_labels: Tensor | None = None,
        sources: Sources | None = None,
    ):
        """Join them.

        Args:
            images: ``(batch, 3, height, width)``, normalized.
            labels: ``(batch,)``, on the device of the images.
            host_labels: the same on the CPU, where they are there already.
            sources: see ``Images``.

        Attributes:
            drawn: what ``Trainer.draw`` drew for the batch, on its device; None: nothing yet.
        """
        super().__init__(images, sources)
        self.labels = labels
        self.drawn: dict[str, Tensor] | None = None
        if host_labels is not None:
            self.host_labels = host_labels

    @cached_property
    def host_labels(self) -> Tensor:
        """The labels ``(batch,)`` on the CPU, where reading one does not wait for the device."""
        return self.labels.cpu()

    def with_unprompted(self, clip: Hashable, source: Callable[[], Tensor]) -> "Batch":
        """Return the batch with features by ``clip`` from ``source``, called if asked for."""
        return Batch(self.images, self.labels, self.host_labels, {clip: source})

    def _replace(self, *, images: Tensor | None = None, labels: Tensor | None = None) -> "Batch":
        """Return the batch with other images or labels; of the same images, features are shared."""
        batch = Batch(
            self.images if images is None else images, self.labels if labels is None else labels
        )
        if batch.images is self.images:
            batch._sources, batch._features = self._sources, self._features
            batch._unchanged = self._unchanged
        return batch

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.images, self.labels))

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Tensor:
        return (self.images, self.labels)[index]
