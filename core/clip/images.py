"""A batch of images, and the features that a frozen CLIP gives them without prompts."""

from collections.abc import Callable, Hashable, Mapping

from torch import Tensor

Sources = Mapping[Hashable, Callable[[], Tensor]]  # by CLIP


class Images:
    """Images ``(batch, 3, height, width)`` that remember their unprompted features.

    Student, conditional learner and teacher of one step ask for the same features. Whoever asks
    first has them computed, or taken from where they are known already; the others get the same.
    """

    def __init__(self, images: Tensor, sources: Sources | None = None):
        """Wrap the images.

        Args:
            sources: by CLIP, a function that returns the unprompted features ``(batch, dim)``,
                called at most once. If it needs no pixels, the images may be on the meta device,
                without data.
        """
        self.images = images
        self._sources = sources or {}
        self._features: dict[Hashable, Tensor] = {}
        self._unchanged = _version(images)

    def unprompted(self, clip: Hashable, encode: Callable[[], Tensor]) -> Tensor:
        """Return the unprompted features by ``clip``, from ``encode`` unless they are known.

        Images that were changed in place or need a gradient are encoded anew each time.
        """
        if self.images.requires_grad or _version(self.images) != self._unchanged:
            return encode()
        if clip not in self._features:
            self._features[clip] = self._sources.get(clip, encode)()
        return self._features[clip]


def as_images(images: Tensor | Images) -> Images:
    """Wrap a tensor; images remain what they are."""
    return images if isinstance(images, Images) else Images(images)


def _version(images: Tensor) -> int:
    """Return how often a tensor was changed in place; inference tensors do not count it."""
    return 0 if images.is_inference() else images._version
