"""A batch's unprompted features: encoded once for all that ask, and never those of other images."""

import pytest
import torch

from softprompt.core.clip.images import Images
from softprompt.core.data.batch import Batch


@pytest.fixture
def encoded(clip, monkeypatch) -> list[int]:
    """The number of images of each call that encodes some."""
    counts, encode = [], clip.encode_image
    monkeypatch.setattr(
        clip,
        "encode_image",
        lambda images, *rest: (counts.append(len(images)), encode(images, *rest))[1],
    )
    return counts


@pytest.mark.parametrize("learner", ["coop", "cocoop"])
def test_student_and_teacher_encode_a_batch_once(learner, clip, batch, make_model, encoded):
    model = make_model(learner, clip)
    features = model(batch).image
    assert torch.equal(model.zero_shot_image(batch), features)
    assert torch.equal(make_model("language_only", clip)(batch).image, features)
    assert encoded == [8]


@pytest.mark.parametrize("learner", ["coop", "cocoop", "ivlp"])
def test_a_tensor_gives_the_same_as_a_batch(learner, clip, batch, make_model, encoded):
    model = make_model(learner, clip)
    for ours, theirs in zip(model(batch), model(batch.images), strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(model.zero_shot_image(batch), model.zero_shot_image(batch.images))


def test_every_clip_has_features_of_its_own(clip, make_clip, batch):
    other = make_clip()
    with torch.no_grad():
        other.model.visual.proj *= 2
    torch.testing.assert_close(other.unprompted(batch), 2 * clip.unprompted(batch))
    known = batch.with_unprompted(clip, lambda: torch.zeros(1))
    assert clip.unprompted(known).tolist() == [0]
    assert torch.equal(other.unprompted(known), other.unprompted(batch))


def test_a_source_is_asked_once_and_only_if_needed(clip, batch, make_model, encoded):
    features, asked = clip.encode_image(batch.images), []
    known = batch.with_unprompted(clip, lambda: asked.append(1) or features)
    make_model("ivlp", clip)(known)
    assert not asked
    model = make_model("coop", clip)
    assert torch.equal(model(known).image, model.zero_shot_image(known))
    assert asked == [1] and encoded == [8, 8]


def test_images_on_the_meta_device_need_no_data(clip, batch, make_model):
    model, features = make_model("coop", clip), clip.encode_image(batch.images)
    empty = Batch(batch.images.to("meta"), batch.labels)
    known = empty.with_unprompted(clip, lambda: features)
    assert torch.equal(model(known).logits, model(batch).logits)


def test_changed_images_are_encoded_anew(clip, batch):
    known = Batch(batch.images.clone(), batch.labels).with_unprompted(clip, lambda: torch.zeros(1))
    assert clip.unprompted(known).tolist() == [0]
    known.images.add_(1)
    assert torch.equal(clip.unprompted(known), clip.encode_image(batch.images + 1))


def test_images_that_need_a_gradient_get_one(clip, batch, make_model):
    images = Images(batch.images.clone().requires_grad_())
    model = make_model("coop", clip)
    model.zero_shot_image(images)
    model(images).logits.sum().backward()
    assert images.images.grad.abs().sum() > 0


def test_inference_mode_encodes_the_same(clip, batch):
    with torch.inference_mode():
        images = Images(batch.images * 1.0)
        assert torch.equal(clip.unprompted(images), clip.unprompted(images))
    torch.testing.assert_close(clip.unprompted(Images(batch.images)), clip.unprompted(batch))


def test_a_batch_unpacks_and_knows_its_labels_on_the_host(batch):
    images, labels = batch
    assert images is batch.images and labels is batch.labels
    assert batch.host_labels.device.type == "cpu" and torch.equal(batch.host_labels, labels)


def test_plugins_use_a_batch_as_the_named_tuple_that_it_was(clip, batch, encoded):
    assert len(batch) == 2 and batch[0] is batch.images and batch[-1] is batch.labels
    same = batch._replace(labels=batch.labels + 1)
    assert torch.equal(same.labels, batch.labels + 1)
    assert torch.equal(same.host_labels, batch.labels + 1)
    assert torch.equal(clip.unprompted(same), clip.unprompted(batch)) and encoded == [8]
    other = batch._replace(images=batch.images + 1)
    assert other.labels is batch.labels
    assert not torch.equal(clip.unprompted(other), clip.unprompted(batch))
    with pytest.raises(TypeError):
        batch._replace(pictures=batch.images)
