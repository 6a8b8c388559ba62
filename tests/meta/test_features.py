"""Features of captioned pictures: right, computed once, by content, whatever interrupts."""

import errno
import functools

import pytest
import torch
from PIL import Image

from softprompt.core import UserError
from softprompt.core.meta.clusters import features as module
from softprompt.core.meta.clusters.encode import packed, unpacked
from softprompt.core.meta.clusters.features import cached_features
from softprompt.core.meta.pairs.sources import open_pairs

COUNT = 10


@functools.cache
def transform():
    from torchvision import transforms

    return transforms.Compose([transforms.Resize((32, 32)), transforms.ToTensor()])


@pytest.fixture
def listing(tmp_path):
    lines = []
    for index in range(COUNT):
        colour = (20 * index, 255 - 20 * index, 7 * index)
        Image.new("RGB", (9, 9), colour).save(tmp_path / f"{index}.png")
        lines.append(f"{index}.png,a plain picture of number {index}")
    (tmp_path / "captions.csv").write_text("\n".join(lines))
    return tmp_path / "captions.csv"


@pytest.fixture
def encoded(monkeypatch):
    """Make parts of four pairs, and list the rows that are computed."""
    rows = []

    def encode(clip, pairs, chosen, *args, **options):
        rows.extend(chosen)
        return real(clip, pairs, chosen, *args, **options)

    real = module.encode_pairs
    monkeypatch.setattr(module, "encode_pairs", encode)
    monkeypatch.setattr(module, "PART", 4)
    return rows


def compute(clip, listing, **options):
    pairs = open_pairs(str(listing), max_skipped=0.2)
    return cached_features(clip, pairs, transform(), listing.parent / "cache", **options)


@pytest.mark.parametrize("workers", [0, 2])
def test_features_are_those_of_the_frozen_clip(clip, listing, workers):
    found = compute(clip, listing, batch_size=3, workers=workers)
    images = [Image.open(listing.parent / f"{i}.png") for i in range(COUNT)]
    image = torch.stack([transform()(each) for each in images])
    text = [f"a plain picture of number {index}" for index in range(COUNT)]
    with torch.no_grad():
        expected = clip.encode_image(image), clip.encode_text(clip.sentences(text, "{}"))
    for features, reference in zip((found.image, found.text), expected, strict=True):
        reference = torch.nn.functional.normalize(reference, dim=-1)
        torch.testing.assert_close(features.float(), reference, atol=1e-3, rtol=0)
    assert found.captions == text and len(set(found.pictures)) == COUNT
    assert found.tokens.tolist() == [6] * COUNT


def test_nothing_is_computed_or_read_twice(clip, listing, encoded, monkeypatch):
    first = compute(clip, listing)
    assert encoded == list(range(COUNT))
    monkeypatch.setattr("softprompt.core.meta.pairs.files.FilePairs.data", None)
    again = compute(clip, listing)
    assert encoded == list(range(COUNT)) and again.key == first.key
    assert torch.equal(again.image, first.image) and again.captions == first.captions


def test_what_changes_is_computed_anew_and_nothing_else(clip, make_clip, listing, encoded):
    first = compute(clip, listing)
    del encoded[:]
    Image.new("RGB", (9, 9), "white").save(listing.parent / "5.png")
    second = compute(clip, listing)
    assert encoded == [4, 5, 6, 7] and second.key != first.key
    del encoded[:]
    listing.write_text(listing.read_text().replace("number 9", "a dog"))
    third = compute(clip, listing)
    assert encoded == [8, 9] and third.captions[9] == "a plain picture of a dog"
    del encoded[:]
    other = make_clip()
    other.model.visual.proj.data += 1
    compute(other, listing)
    assert encoded == list(range(COUNT))


def test_the_same_contents_elsewhere_are_known(clip, listing, encoded, tmp_path):
    compute(clip, listing)
    for file in tmp_path.glob("*.png"):
        file.write_bytes(file.read_bytes())  # a new time of change
    del encoded[:]
    compute(clip, listing)
    assert encoded == []


def test_another_machine_or_version_computes_its_own(clip, make_clip, listing, encoded):
    first = compute(clip, listing)
    other = make_clip()
    other.fingerprint = "f" * 64  # as with another version of torch
    for _ in range(2):
        again = compute(other, listing)
    assert encoded == 2 * list(range(COUNT)) and again.key == first.key
    del encoded[:]
    compute(clip, listing)
    assert encoded == []


def test_files_of_earlier_versions_are_read(clip, listing, encoded):
    first = compute(clip, listing)
    for file in (listing.parent / "cache").glob("features-*.safetensors"):
        file.rename(file.with_stem(file.stem.rpartition("-")[0]))
    del encoded[:]
    again = compute(clip, listing)
    assert encoded == [] and again.key == first.key and torch.equal(again.text, first.text)


def test_an_interrupted_computation_goes_on(clip, listing, encoded, monkeypatch):
    real = module.encode_pairs

    def stop(clip, pairs, rows, *args, **options):
        if rows[0] == 8:
            raise KeyboardInterrupt
        return real(clip, pairs, rows, *args, **options)

    monkeypatch.setattr(module, "encode_pairs", stop)
    with pytest.raises(KeyboardInterrupt):
        compute(clip, listing)
    monkeypatch.setattr(module, "encode_pairs", real)
    del encoded[:]
    compute(clip, listing)
    assert encoded == [8, 9]
    damaged = next((listing.parent / "cache").glob("features-*.safetensors"))
    damaged.write_bytes(damaged.read_bytes()[:100])
    del encoded[:]
    compute(clip, listing)
    assert len(encoded) in (2, 4)


def test_corrupt_pictures_are_skipped_up_to_the_share(clip, listing):
    (listing.parent / "2.png").write_bytes(b"no picture")
    (listing.parent / "7.png").write_bytes((listing.parent / "7.png").read_bytes()[:50])
    found = compute(clip, listing)
    assert [row for row in range(COUNT) if not found.pictures[row]] == [2, 7]
    assert not found.image[[2, 7]].any() and found.image[[1, 3]].any()
    (listing.parent / "4.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"3 of 10 pairs .* cannot be read \(.*2.png, .*4.png, .*7"):
        compute(clip, listing)


def test_captions_too_short_or_too_long_have_no_features(clip, listing):
    lines = ["0.png,cat", "1.png,a small cat", f"2.png,{'very ' * 40}long", "3.png," + "x" * 5000]
    listing.write_text("\n".join(lines))
    found = compute(clip, listing)
    assert found.text.any(1).tolist() == [False, True, False, False]
    assert found.tokens[:3].tolist() == [1, 3, 41]


def test_byte_strings_survive_packing():
    for values in ([], [b""], [b"", b"a", "é".encode(), b"\0" * 300, b""]):
        assert unpacked(packed(values)) == values


@pytest.mark.parametrize("kind", ["index", "features"])
@pytest.mark.parametrize("damage", ["cut", "text", "bit"])
def test_a_damaged_cache_is_computed_again_and_said(kind, damage, clip, listing, encoded, caplog):
    first = compute(clip, listing)
    pattern = "pairs-*.json" if kind == "index" else "features-*.safetensors"
    file = sorted((listing.parent / "cache").glob(pattern))[0]
    content = file.read_bytes()
    bit = content[:-1] + bytes([content[-1] ^ 1])
    file.write_bytes({"cut": content[:-9], "text": b"{}", "bit": bit}[damage])
    encoded.clear()
    again = compute(clip, listing)
    assert torch.equal(again.image, first.image) and again.captions == first.captions
    assert again.key == first.key and file.read_bytes() == content
    assert f"{file} is damaged" in caplog.text
    assert bool(encoded) == (kind == "features")


def test_a_cache_on_a_full_disk_is_one_line(clip, listing, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "write_tensors", full)
    with pytest.raises(UserError, match="no space left on the disk of .*run the same command"):
        compute(clip, listing)
    (listing.parent / "cache").rmdir()
    (listing.parent / "cache").write_text("mine")
    with pytest.raises(UserError, match="cannot write .*cache: File exists"):
        compute(clip, listing)
