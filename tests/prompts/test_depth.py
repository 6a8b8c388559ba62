"""A default prompt depth follows the tower; another one is checked."""

import pytest
import torch

from softprompt.core.base.errors import UserError
from softprompt.core.base.registry import PROMPT_LEARNERS

DEPTHS = [
    ("ivlp", "prompt_depth_text", 9),
    ("ivlp", "prompt_depth_vision", 9),
    ("vpt", "prompt_depth_vision", 12),
    ("maple", "prompt_depth", 9),
    ("language_only", "prompt_depth", 12),
]


class Tower:
    """The sizes of a CLIP with so many blocks in each tower."""

    text_width, image_width, dim = 4, 6, 5

    def __init__(self, text: int, image: int):
        self.text_depth, self.image_depth = text, image

    def embed_words(self, words):
        return torch.zeros(4, self.text_width)


def sizes(name: str, text: int, image: int, **options) -> tuple[int, int]:
    """Return how many blocks of the text and of the image tower a learner prompts."""
    prompts = PROMPT_LEARNERS[name](Tower(text, image), ("a", "b"), **options)()
    return len(prompts.text_vectors), len(prompts.image_vectors)


def test_a_default_depth_is_at_most_the_towers():
    assert sizes("ivlp", 4, 3) == (4, 3)
    assert sizes("ivlp", 12, 24) == (9, 9)
    assert sizes("vpt", 4, 3) == (0, 3)
    assert sizes("vpt", 12, 24) == (0, 12)
    assert sizes("maple", 4, 3) == (3, 3)
    assert sizes("language_only", 4, 3) == (4, 0)


@pytest.mark.parametrize(("name", "option", "default"), DEPTHS)
def test_another_depth_is_checked(name, option, default):
    sizes(name, 4, 4, **{option: 4})
    with pytest.raises(UserError, match=f"{option.upper()} is {default - 1}, but .* 4 blocks"):
        sizes(name, 4, 4, **{option: default - 1})


@pytest.mark.parametrize(("name", "option", "default"), DEPTHS)
def test_the_default_is_what_it_was(name, option, default):
    """It is part of saved configurations and of their hash."""
    from softprompt.core.config.options import options_of

    assert options_of(PROMPT_LEARNERS[name])[option] == default


@pytest.mark.parametrize("name", ["ivlp", "vpt", "maple"])
def test_a_tower_that_takes_no_prompts_is_still_refused(name):
    with pytest.raises(UserError, match="takes no image prompts"):
        sizes(name, 4, 0)
