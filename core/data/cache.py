"""A function whose results stay in memory while there is room for them."""

from collections.abc import Callable, Hashable

from PIL import Image

from softprompt.core.base.files import GIGABYTE


class SizeLimitedCache:
    """Calls a function of one argument once for each, as long as the results fit.

    Those that come when the room is full are made anew each time. A loader's process starts with
    none, for each has a memory of its own.
    """

    def __init__(self, function: Callable, room: float):
        """Keep none yet.

        Args:
            room: gigabytes.
        """
        self.function = function
        self.room = room * GIGABYTE
        self._results: dict[Hashable, object] = {}

    def __call__(self, argument: Hashable):
        if argument in self._results:
            return self._results[argument]
        result = self.function(argument)
        size = size_of(result)
        if size <= self.room:
            self.room -= size
            self._results[argument] = result
        return result

    def __getstate__(self) -> dict:
        taken = sum(map(size_of, self._results.values()))
        return self.__dict__ | {"_results": {}, "room": self.room + taken}


def size_of(picture) -> int:
    """Return the bytes of a decoded picture, a PIL image or a tensor."""
    if isinstance(picture, Image.Image):
        return picture.width * picture.height * len(picture.getbands())
    return picture.nbytes
