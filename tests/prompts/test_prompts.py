"""What ``Prompts`` know of themselves, and the parts that they are cut into."""

import pytest
import torch

from softprompt.core.prompts.base import Prompts

WIDTH, CLASSES, BATCH = 5, 3, 2


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, WIDTH)


MIXED = Prompts(
    text=draw(BATCH, 1, 4),
    deep_text=(draw(CLASSES, 4), draw(4), draw(BATCH, CLASSES, 4)),
    image=draw(2),
    deep_image=(draw(BATCH, 2),),
)


def test_empty_prompts_prompt_nothing():
    prompts = Prompts()
    assert not prompts.prompts_text and not prompts.prompts_image and not prompts.vectors
    assert prompts.batch is None and not prompts.by_class


def test_deep_prompts_alone_prompt_a_tower():
    assert Prompts(deep_text=(draw(4),)).prompts_text
    assert Prompts(deep_image=(draw(4),)).prompts_image


def test_vectors_are_in_order_and_can_be_put_back():
    first, *rest = MIXED.vectors
    assert first is MIXED.text and rest[-1] is MIXED.deep_image[0]
    again = MIXED.with_vectors(MIXED.vectors)
    for one, other in zip(again.vectors, MIXED.vectors, strict=True):
        assert one is other
    without = Prompts(deep_text=(draw(4),), image=draw(2))
    assert without.with_vectors(without.vectors) == without
    assert MIXED.text_only().image_only() == Prompts()


def test_by_block_takes_the_first_from_the_others():
    vectors = [draw(4) for _ in range(3)]
    assert Prompts.by_block(text=vectors).text is vectors[0]
    assert Prompts.by_block(image=vectors).deep_image == tuple(vectors[1:])
    assert Prompts.by_block() == Prompts()


@pytest.mark.parametrize(
    ("shape", "batch", "by_class"),
    [
        ((4,), None, False),
        ((1, 4), None, False),
        ((CLASSES, 4), None, True),
        ((BATCH, 1, 4), BATCH, False),
        ((BATCH, CLASSES, 4), BATCH, True),
    ],
)
def test_a_shape_tells_what_text_prompts_depend_on(shape, batch, by_class):
    for prompts in (Prompts(text=draw(*shape)), Prompts(deep_text=(draw(4), draw(*shape)))):
        assert (prompts.batch, prompts.by_class) == (batch, by_class)


def test_parts_of_classes_and_images_hold_what_these_need():
    classes = MIXED.of_classes(slice(1, 3))
    assert [tuple(v.shape[:-1]) for v in classes.vectors] == [
        (BATCH, 1, 4), (2, 4), (4,), (BATCH, 2, 4), (2,), (BATCH, 2)
    ]  # fmt: skip
    assert torch.equal(classes.deep_text[2], MIXED.deep_text[2][:, 1:])
    images = MIXED.of_images(slice(1, 2))
    assert [tuple(v.shape[:-1]) for v in images.vectors] == [
        (1, 1, 4), (CLASSES, 4), (4,), (1, CLASSES, 4), (2,), (1, 2)
    ]  # fmt: skip
    assert torch.equal(images.deep_image[0], MIXED.deep_image[0][1:])
    assert Prompts(text=draw(1, 1, 4)).of_images(slice(1, 2)).batch == 1  # one for all images
