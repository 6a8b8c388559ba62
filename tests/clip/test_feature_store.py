"""Features that are kept: by which keys, among which writers, and that they are the same ones."""

import multiprocessing
import os

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from softprompt.core.base.errors import UserError
from softprompt.core.clip.fast.store import FeatureStore, file_of, key_of
from softprompt.core.clip.fingerprint import model_fingerprint
from softprompt.core.clip.frozen import NOTHING
from softprompt.core.data.batches import Batches
from softprompt.core.data.dataset import Item
from softprompt.core.data.pictures import FileReader, picture_fingerprint
from softprompt.core.data.stored import FixedViews, StoredBatches
from softprompt.core.data.transforms import Preprocessing, evaluation_transform, training_transform

HALF = Preprocessing((32, 32), (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
FLIPPED = ("random_resized_crop", "random_flip", "normalize")


def files(folder) -> list:
    return [file for file in folder.rglob("*") if file.is_file() and file.name != ".lock"]


def test_what_is_put_is_found_by_another_process_too(tmp_path):
    value = torch.randn(3, 4)
    FeatureStore(tmp_path).put(key_of("a", 1), value)
    again = FeatureStore(tmp_path)
    assert torch.equal(again.get(key_of("a", 1)), value)
    assert again.get(key_of("a", 2)) is None
    assert torch.equal(again.remembered(key_of("a", 1), pytest.fail), value)


def test_a_damaged_file_is_computed_again(tmp_path):
    key, value = key_of("a"), torch.ones(2)
    FeatureStore(tmp_path).put(key, value)
    (file,) = files(tmp_path)
    file.write_bytes(file.read_bytes()[:20])
    store = FeatureStore(tmp_path)
    assert store.get(key) is None
    assert torch.equal(store.remembered(key, lambda: value), value)
    assert torch.equal(FeatureStore(tmp_path).get(key), value)


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize("place", [-1, -3, 10, 60, 120, 3])
def test_one_flipped_bit_is_computed_again_and_said(place, tmp_path, caplog):
    key, value = key_of("a"), torch.arange(6.0).reshape(2, 3)
    FeatureStore(tmp_path).put(key, value)
    (file,) = files(tmp_path)
    content = file.read_bytes()
    file.write_bytes(flipped(content, place % len(content)))
    found = FeatureStore(tmp_path).remembered(key, lambda: value, (2, 3))
    assert torch.equal(found, value)
    (said,) = caplog.messages
    assert said.startswith(f"{file} is damaged (") and said.endswith("is computed again")
    assert file.read_bytes() == content


@pytest.mark.parametrize(
    ("stored", "says"),
    [
        (torch.ones(2, 3), ""),
        (torch.tensor([[1.0, float("nan")]]), "features is not finite"),
        (torch.ones(3, 3), r"features has the shape (3, 3), not (2, 3)"),
        (torch.ones(2), r"features has the shape (2,), not (2, 3)"),
    ],
)
def test_entries_of_version_0_1_have_no_digest(stored, says, tmp_path, caplog):
    key = key_of("a")
    file = file_of(tmp_path, key)
    file.parent.mkdir()
    save_file({"features": stored}, file)
    found = FeatureStore(tmp_path).remembered(key, lambda: torch.zeros(2, 3), (2, 3))
    assert torch.equal(found, torch.zeros(2, 3) if says else stored)
    assert says in caplog.text and bool(says) == bool(caplog.messages)


def test_the_least_recently_used_go_first(tmp_path):
    megabyte = torch.zeros(2**18)
    store = FeatureStore(tmp_path, limit=3.5 / 1024)
    for number in range(3):
        store.put(key_of(number), megabyte)
        os.utime(file_of(tmp_path, key_of(number)), (number, number))
    assert FeatureStore(tmp_path).get(key_of(0)) is not None  # used now
    store.put(key_of(3), megabyte)
    left = FeatureStore(tmp_path)
    assert [left.get(key_of(number)) is not None for number in range(4)] == [1, 0, 1, 1]


def test_a_folder_that_cannot_be_written_to_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="CACHE.DIR .*file cannot be written to"):
        FeatureStore(tmp_path / "file").put(key_of(1), torch.ones(1))


def write(folder: str, limit: float) -> None:
    """Write what the others write as well, and read it while it is trimmed."""
    for number in range(60):
        store = FeatureStore(folder, limit)
        found = store.remembered(
            key_of(number % 7), lambda n=number % 7: torch.full((2**12,), float(n))
        )
        if not (found == number % 7).all():
            os._exit(1)


@pytest.mark.parametrize("limit", [1.0, 5e-5])
def test_many_processes_write_at_once(limit, tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=write, args=(tmp_path, limit)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert not [file for file in files(tmp_path) if file.suffix == ".partial"]
    if limit == 1.0:
        assert len(files(tmp_path)) == 7
    FeatureStore(tmp_path, limit).put(key_of("the last one"), torch.ones(1))
    assert sum(file.stat().st_size for file in files(tmp_path)) <= limit * 2**30


def test_a_model_is_known_by_all_that_its_features_depend_on(make_clip):
    first = model_fingerprint(make_clip())
    assert model_fingerprint(make_clip()) == first
    changed, precise, quick = make_clip(), make_clip(), make_clip()
    with torch.no_grad():
        changed.model.visual.proj[0, 0] += 1e-6
    precise.precision = "bf16"
    quick.model.visual.transformer.resblocks[1].mlp.gelu = torch.nn.GELU()
    assert len({first, *map(model_fingerprint, (changed, precise, quick))}) == 4


@pytest.fixture
def pictures(tmp_path) -> FileReader:
    generator = torch.Generator().manual_seed(0)
    for number in range(10):
        pixels = torch.randint(0, 255, (40, 48, 3), generator=generator, dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(tmp_path / f"{number}.png")
    return FileReader(str(tmp_path))


ITEMS = [Item(f"{number}.png", number % 3) for number in range(10)]


class Stored:
    """Batches over a folder of pictures, and how often a picture or a feature is computed."""

    def __init__(self, clip, store, read, transform=None, **options):
        transform = transform or evaluation_transform(("normalize",), HALF)
        self.read_count = self.encoded = 0

        def counted(path):
            self.read_count += 1
            return read(path)

        batches = Batches(ITEMS, counted, transform, batch_size=4, **options)
        self.batches = StoredBatches(
            batches, clip, store, lambda path: picture_fingerprint(read, path)
        )
        self.clip = clip

    def features(self, need_images: bool = False) -> torch.Tensor:
        encode = self.clip.encode_image

        def counted(images):
            self.encoded += len(images)
            return encode(images)

        self.clip.encode_image = counted
        try:
            found = self.batches.epoch(need_images=need_images)
            return torch.cat([self.clip.unprompted(batch) for batch in found])
        finally:
            del self.clip.encode_image


def test_stored_features_are_the_computed_ones_and_pictures_are_not_read(clip, pictures, tmp_path):
    store = tmp_path / "store"
    first = Stored(clip, FeatureStore(store), pictures)
    computed = torch.cat([clip.encode_image(b.images) for b in first.batches.batches.epoch()])
    first.read_count = 0
    assert torch.equal(first.features(), computed)
    assert (first.read_count, first.encoded) == (10, 10)
    again = Stored(clip, FeatureStore(store), pictures)
    assert torch.equal(again.features(), computed)
    assert (again.read_count, again.encoded) == (0, 0)
    assert torch.equal(again.features(need_images=True), computed)
    assert (again.read_count, again.encoded) == (10, 0)


def test_a_changed_picture_weight_or_transform_is_another_feature(
    clip, make_clip, pictures, tmp_path
):
    store = tmp_path / "store"
    Stored(clip, FeatureStore(store), pictures).features()
    other = make_clip()
    with torch.no_grad():
        other.model.visual.proj *= 2
    changed = Stored(other, FeatureStore(store), pictures)
    changed.features()
    assert changed.encoded == 10
    squashed = evaluation_transform(("normalize",), Preprocessing(*HALF.__dict__.values()))
    assert Stored(clip, FeatureStore(store), pictures, squashed).features() is not None
    for transform in (
        evaluation_transform((), HALF),
        evaluation_transform(
            ("normalize",), Preprocessing((32, 32), HALF.mean, HALF.std, squash=True)
        ),
    ):
        changed = Stored(clip, FeatureStore(store), pictures, transform)
        changed.features()
        assert changed.encoded == 10
    pictures("3.png").rotate(90).save(tmp_path / "3.png")
    changed = Stored(clip, FeatureStore(store), pictures)
    changed.features()
    assert changed.encoded == 4  # its batch


def test_images_without_data_cannot_be_encoded(clip, pictures, tmp_path):
    store = FeatureStore(tmp_path / "store")
    Stored(clip, store, pictures).features()
    batch = next(Stored(clip, store, pictures).batches.epoch(need_images=False))
    with pytest.raises(UserError, match="were not read, .*CACHE.DIR.*says needs_images = True"):
        clip.encode_image(batch.images[:2])


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kept", [False, True])
def test_views_take_turns_and_their_features_are_those_of_the_pictures(
    clip, pictures, tmp_path, kept, workers
):
    transform = training_transform(FLIPPED, HALF, (0.3, 1.0))
    options = {"batch_size": 3, "augment_seed": 7, "views": 2, "workers": workers}
    shuffled = Batches(ITEMS, pictures, transform, seed=5, memory=1.0, **options)
    ordered = shuffled.in_order()
    read = ordered.epoch
    if kept:
        stored = StoredBatches(
            ordered,
            clip,
            FeatureStore(tmp_path / "store"),
            lambda path: picture_fingerprint(pictures, path),
        )
        read = lambda view: stored.epoch(view, need_images=False)  # noqa: E731
    views = FixedViews(shuffled, read, clip)
    assert len(views) == 3
    seen = {}
    for epoch in range(4):
        for batch in views.epoch(epoch):
            computed = clip.encode_image(batch.images)
            torch.testing.assert_close(clip.unprompted(batch), computed, rtol=1e-5, atol=1e-5)
            for image, label in zip(batch.images, batch.labels, strict=True):
                seen.setdefault((epoch % 2, label.item()), set()).add(image.sum().item())
    # 10 pictures, of which each epoch leaves out one: of three labels there are 4, 3 and 3
    assert max(len(values) for values in seen.values()) <= 4
    assert not seen[0, 0] & seen[1, 0]


def test_any_method_trains_alike_on_known_features(
    any_learner, any_trainer, clip, batch, make_model, make_trainer, monkeypatch
):
    """Known features were computed image by image, as another batch has other last bits."""
    known = torch.cat([clip.encode_image(image[None]) for image in batch.images])
    unprompted, encode_image = [], clip.encode_image

    def watched(images, prompts=NOTHING):
        if not prompts.prompts_image:
            unprompted.append(len(images))
        return encode_image(images, prompts)

    monkeypatch.setattr(clip, "encode_image", watched)

    def steps(given) -> list[dict]:
        method = make_trainer(any_trainer, make_model(any_learner, clip))
        torch.manual_seed(0)
        found = [method.step(given) for _ in range(3)]
        return [{name: value.item() for name, value in terms.items()} for terms in found]

    computed = steps(batch)
    # Once for student, conditional learner and teacher, though each step asks.
    asked = unprompted.count(len(batch.images))
    assert asked <= 1
    unprompted.clear()
    for terms, expected in zip(
        steps(batch.with_unprompted(clip, lambda: known)), computed, strict=True
    ):
        assert terms == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert len(batch.images) not in unprompted
