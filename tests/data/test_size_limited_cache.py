import pickle

import torch
from PIL import Image

from softprompt.core.data.pictures import SizeLimitedCache, size_of


class Reader:
    def __init__(self):
        self.asked = []

    def __call__(self, name: str) -> torch.Tensor:
        self.asked.append(name)
        return torch.zeros(2**18)  # a megabyte


def test_results_are_kept_while_there_is_room():
    reader = Reader()
    kept = SizeLimitedCache(reader, 2.5 / 1024)
    for _ in range(2):
        for name in "abcd":
            kept(name)
    assert reader.asked == [*"abcd", *"cd"]
    assert kept("a") is kept("a")


def test_a_process_starts_with_none_and_with_all_the_room():
    kept = SizeLimitedCache(Reader(), 2.5 / 1024)
    kept("a")
    copy = pickle.loads(pickle.dumps(kept))
    for _ in range(2):
        copy("b"), copy("c")
    assert copy.function.asked == ["a", "b", "c"]


def test_sizes_are_those_of_the_pixels():
    assert size_of(Image.new("RGB", (5, 7))) == 5 * 7 * 3
    assert size_of(torch.zeros(3, 4)) == 48
