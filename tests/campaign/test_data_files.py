"""Damaged files that are no run's: splits, few-shot lists, caches, weights, captions, leases."""

import csv
import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from damage import apply, copy, damages
from forked import ROOT, TRAIN, run
from hypothesis import strategies as st
from inputs import Campaign
from oracle import judge, listing, refused, sound_results, sound_run, unchanged
from PIL import Image
from test_settings import judge_training

from softprompt.core.base.files import ASSETS

KIND = "damaged files of data, caches, weights and sweeps"
PAIRS = 120
CLASSES = ("Annual Crop Land", "Forest", "River", "Sea or Lake")
REST = TRAIN[2:]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """EuroSAT's layout with four classes of noise."""
    root = tmp_path_factory.mktemp("data")
    noise = np.random.default_rng(0)
    rows = {"train": [], "val": [], "test": []}
    for label, name in enumerate(CLASSES):
        place = root / "eurosat/2750" / name.replace(" ", "")
        place.mkdir(parents=True)
        for i in range(8):
            picture = noise.integers(0, 255, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(picture).save(place / f"{i}.jpg")
            split = ("train", "val", "test", "test")[i % 4]
            rows[split].append([f"{place.name}/{i}.jpg", label, name])
    (root / "eurosat/split_zhou_EuroSAT.json").write_text(json.dumps(rows))
    return root


ON_DATA = (
    *TRAIN,
    *"--output-dir run DATASET.NAME eurosat DATASET.ROOT data".split(),
    *("DATALOADER.TRAIN_X.BATCH_SIZE", "4"),
)


def test_splits(campaign: Campaign, data):
    def check(damage: tuple, folder: Path) -> None:
        copied = copy(data, folder / "data")
        apply(copied / "eurosat/split_zhou_EuroSAT.json", damage)
        before = listing(folder)
        judge_training(run("train", *ON_DATA, cwd=folder), folder, before)

    campaign.run(damages(), check, inputs=100)


def test_few_shot_lists(campaign: Campaign, data, tmp_path_factory):
    place = tmp_path_factory.mktemp("listed")
    copy(data, place / "data")
    assert run("train", *ON_DATA, cwd=place).code == 0
    wanted = sound_run(place / "run")["train"]["list_sha256"]

    def check(damage: tuple, folder: Path) -> None:
        copied = copy(place / "data", folder / "data")
        apply(next(copied.rglob("shot_1-*.json")), damage)
        before = listing(folder)
        outcome = run("train", *ON_DATA, cwd=folder)
        judge(outcome)
        if refused(outcome):
            unchanged(before, folder)
        else:
            found = sound_run(folder / "run")
            assert found["train"]["images"] == 2 or found["train"]["list_sha256"] != wanted

    campaign.run(damages(), check, inputs=40)


def test_cached_features(campaign: Campaign, data, tmp_path_factory):
    """A damaged entry is made anew: the accuracies are those without damage."""
    place = tmp_path_factory.mktemp("cached")
    copy(data, place / "data")
    words = (*ON_DATA, "CACHE.DIR", "cache")
    assert run("train", *words, cwd=place).code == 0
    wanted = sound_run(place / "run")["results"]
    entries = sorted(file for file in (place / "cache").rglob("*") if file.is_file())
    assert entries

    def check(case: tuple, folder: Path) -> None:
        entry, damage = case
        copy(data, folder / "data")
        copy(place / "cache", folder / "cache")
        apply(folder / "cache" / entry.relative_to(place / "cache"), damage)
        outcome = run("train", *words, cwd=folder)
        judge(outcome)
        if outcome.code == 0:
            assert sound_run(folder / "run")["results"] == wanted, "damage changed the results"

    campaign.run(st.tuples(st.sampled_from(entries), damages()), check, inputs=90)


def test_weight_files(campaign: Campaign):
    def check(damage: tuple, folder: Path) -> None:
        file = folder / "weights.safetensors"
        file.write_bytes((ASSETS / "tiny.safetensors").read_bytes())
        apply(file, damage)
        before = listing(folder)
        words = ("MODEL.BACKBONE.PRETRAINED", "weights.safetensors", "--output-dir", "run")
        judge_training(run("train", *TRAIN, *words, cwd=folder), folder, before)

    campaign.run(damages(), check, inputs=50)


@pytest.fixture(scope="module")
def captions(tmp_path_factory) -> Path:
    """A captions file of drawn pictures."""
    from softprompt.core.meta.pairs.generated import GeneratedPairs

    place = tmp_path_factory.mktemp("captions") / "pairs"
    place.mkdir()
    pairs = GeneratedPairs(PAIRS)
    with open(place / "captions.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "caption"])
        for i in range(PAIRS):
            pairs.image(i).resize((32, 32)).save(place / f"{i}.png")
            writer.writerow([f"{i}.png", pairs.caption(i)])
    return place


def test_caption_files(campaign: Campaign, captions):
    def check(case: tuple, folder: Path) -> None:
        name, damage = case
        copied = copy(captions, folder / "pairs")
        apply(copied / name, damage)
        sizes = "--topics 2 --classes 2 --domains 2 --ways 2 --shots 1 --queries 1".split()
        outcome = run("clusters", "pairs/captions.csv", *sizes, "--cache", "cache", cwd=folder)
        judge(outcome)
        assert "nan" not in outcome.out.lower()

    cases = st.tuples(st.sampled_from(["captions.csv", "captions.csv", "3.png"]), damages())
    campaign.run(cases, check, inputs=40)


@pytest.fixture(scope="module")
def meta_trained(tmp_path_factory, captions) -> Path:
    """A finished meta-training of two steps, with the cache of its features."""
    place = tmp_path_factory.mktemp("meta")
    copy(captions, place / "pairs")
    outcome = run("meta_train", *META, cwd=place)
    assert outcome.code == 0, outcome
    return place


META = (
    *("--config-file", str(ROOT / "configs/gram/meta_captions_tiny.yaml"), "--output-dir", "meta"),
    *"META.PAIRS.SOURCE pairs/captions.csv META.PAIRS.CACHE cache PROMPT.NAME coop".split(),
    *"META.CLUSTER.TOPICS 3 META.CLUSTER.CLASSES 2 META.CLUSTER.DOMAINS 2".split(),
    *"META.CLUSTER.WAYS 2 META.CLUSTER.SHOTS 1 META.CLUSTER.QUERIES 1".split(),
    *"META.OUTER.STEPS 2 META.OUTER.VAL_FREQ 1 META.OUTER.VAL_TASKS 2".split(),
)


def test_meta_trained_files(campaign: Campaign, meta_trained):
    """What GRAM starts from, damaged."""

    def check(case: tuple, folder: Path) -> None:
        name, damage = case
        copied = copy(meta_trained / "meta", folder / "meta")
        if not (copied / name).is_file():
            return
        apply(copied / name, damage)
        before = listing(folder)
        words = ("TRAINER.NAME", "gram", "TRAINER.GRAM.FILE", "meta", "--output-dir", "run")
        judge_training(run("train", *TRAIN, *words, cwd=folder), folder, before)

    files = sorted(file.name for file in (meta_trained / "meta").iterdir() if file.is_file())
    cases = st.tuples(st.sampled_from([*files, "gram.safetensors"]), damages())
    campaign.run(cases, check, inputs=50)


def test_caches_of_meta_training(campaign: Campaign, meta_trained):
    def check(case: tuple, folder: Path) -> None:
        name, damage = case
        copy(meta_trained / "pairs", folder / "pairs")
        copied = copy(meta_trained / "cache", folder / "cache")
        apply(copied / name, damage)
        outcome = run("meta_train", *META, cwd=folder)
        judge(outcome)

    cache = meta_trained / "cache"
    files = sorted(str(file.relative_to(cache)) for file in cache.rglob("*") if file.is_file())
    campaign.run(st.tuples(st.sampled_from(files), damages()), check, inputs=50)


SWEEP = (
    *("few_shot", "--config-file", str(ROOT / "configs/coop/tiny.yaml"), "--datasets", "shapes"),
    *"--seeds 1 2 --shots 1 --jobs 1 --threads 1 --output-dir out".split(),
    *"OPTIM.MAX_EPOCH 1 OPTIM.WARMUP_EPOCH 0 TEST.MAX_IMAGES 8".split(),
)
LEASES = (
    b"", b"{", b"[]", b"null", b"3", b'{"host": 3}', b'{"host": null, "pid": "x"}', b"{}", b"\xff",
    b'{"host": "elsewhere", "pid": 1}', b'{"host": "elsewhere"}', b"\0" * 100,
)  # fmt: skip


def test_leases_and_leftovers_of_a_sweep(campaign: Campaign, tmp_path_factory):
    """A damaged claim is nobody's: the sweep goes on, and says what it waits for."""
    place = tmp_path_factory.mktemp("swept")
    assert run("sweep", *SWEEP, cwd=place).code == 0
    wanted = {file.parent.name: sound_results(file.parent) for file in place.rglob("results.json")}

    def check(case: tuple, folder: Path) -> None:
        content, name, ahead, damage, what = case
        if b"elsewhere" in content and ahead == 0:
            return  # another machine's, and alive: to wait is right
        copied = copy(place / "out", folder / "out")
        cell = next(file.parent for file in copied.rglob("seed_2/results.json"))
        if what == "damage":
            (cell / "results.json").unlink()
        else:
            shutil.rmtree(cell)
        leases = copied / ".sweep" / cell.relative_to(copied)
        leases.mkdir(parents=True, exist_ok=True)
        (leases / name).write_bytes(content)
        now = time.time()
        os.utime(leases / name, (now + ahead, now + ahead))
        if what == "damage":
            state = sorted(file for file in cell.rglob("*") if file.is_file())
            apply(state[damage[2] % len(state) if isinstance(damage[2], int) else 0], damage)
        elif what == "file":
            (leases / "folder.json").mkdir(exist_ok=True)
        outcome = run("sweep", *SWEEP, cwd=folder, timeout=200)
        if "cells failed" not in outcome.err:  # each of them in a line
            judge(outcome, (0, 1, 2))
        if what != "damage":
            assert outcome.code == 0, outcome
            found = sound_results(cell)
            assert found["results"] == wanted["seed_2"]["results"]

    names = st.sampled_from(["1.json", "3.json", "3x.json", "x.json", "99.json", "1.json.tmp"])
    aheads = st.sampled_from([0, -1000, 86_400])
    whats = st.sampled_from(["", "", "damage", "file"])
    fresh = st.sampled_from(LEASES)
    campaign.run(st.tuples(fresh, names, aheads, damages(), whats), check, inputs=24)
