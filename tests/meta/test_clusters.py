"""Clusters: what was put in is found again, sizes shrink, names come from captions."""

import json
import re
from dataclasses import asdict

import numpy as np
import pytest
import torch

from softprompt.core import UserError
from softprompt.core.base.log import logger
from softprompt.core.meta import corpus
from softprompt.core.meta.clusters import cluster as module
from softprompt.core.meta.clusters.cluster import cluster, log_clusters
from softprompt.core.meta.clusters.features import PairFeatures
from softprompt.core.meta.clusters.hierarchy import SMALLER, Hierarchy, Sizes, size_candidates
from softprompt.core.meta.clusters.kmeans import LIBRARIES, assign, spherical_kmeans, unit
from softprompt.core.meta.clusters.levels import Points, topics_of
from softprompt.core.meta.clusters.names import CANDIDATES, candidates, choose, phrases
from softprompt.core.meta.clusters.page import write_page
from softprompt.core.meta.tasks import TaskSampler

TOPICS, CLASSES, DOMAINS, DIM = 4, 4, 3, 32  # DIM is the small CLIP's


def sample(count: int, style: float = 0.45, seed: int = 0):
    """Unit features of pictures and texts, and the topic, class and visual domain of each.

    A picture is its topic, class and style, and a sub-concept of its class that no text mentions:
    what clusters within one class would be taken for styles.
    """
    rng = np.random.default_rng(seed)
    topic, cls, domain, sub = (rng.integers(n, size=count) for n in (TOPICS, CLASSES, DOMAINS, 3))
    dim = 3 * DIM

    def directions(*shape):
        return unit(rng.normal(size=(*shape, dim)))

    topics, classes = directions(TOPICS), directions(TOPICS, CLASSES)
    styles, subs = directions(DOMAINS), directions(TOPICS, CLASSES, 3)
    noise = 0.25 / np.sqrt(dim)
    meaning = topics[topic] + 0.6 * classes[topic, cls]
    image = meaning + style * styles[domain] + 0.7 * subs[topic, cls, sub]
    image += noise * rng.normal(size=image.shape) + 2 * directions(1)
    text = meaning + noise * rng.normal(size=image.shape) + 2 * directions(1)
    return unit(image), unit(text), topic, cls, domain


class Numbers:
    """Names every class."""

    def names(self, classes):
        return [f"class {index}" for index in range(len(classes))]


@pytest.fixture(scope="module")
def world():
    return sample(3000)


@pytest.fixture(scope="module")
def found(world):
    image, text, *_ = world
    tensors = (torch.from_numpy(side) for side in (image, text))
    features = PairFeatures(*tensors, tokens=None, pictures=[], captions=[""] * 3000, key="")
    points = Points.of(features, np.arange(3000))
    sizes = Sizes(TOPICS, CLASSES, DOMAINS, 3, 4, 4)
    captions = np.array(features.captions, dtype=object)
    return points, topics_of(points, captions, sizes, Numbers(), "sklearn", 1)


def agreement(world, found):
    """Adjusted Rand index of topics, classes and domains over the pairs that are kept."""
    from sklearn.metrics import adjusted_rand_score

    _, _, topic, cls, domain = world
    rows, topics, classes, domains = [], [], [], []
    for t, members in enumerate(found):
        for c, named in enumerate(members):
            for d, pairs in enumerate(named.domains):
                rows += pairs
                topics += [t] * len(pairs)
                classes += [t * 100 + c] * len(pairs)
                domains += [d] * len(pairs)
    return (
        adjusted_rand_score(topic[rows], topics),
        adjusted_rand_score(topic[rows] * 100 + cls[rows], classes),
        adjusted_rand_score(domain[rows], domains),
    )


def test_topics_classes_and_domains_are_recovered(world, found):
    topics, classes, domains = agreement(world, found[1])
    assert topics > 0.99 and classes > 0.95 and domains > 0.95


def test_domains_within_each_class_alone_would_be_sub_concepts(world, found):
    from sklearn.metrics import adjusted_rand_score

    points, topics = found
    scores = []
    for named in (named for members in topics for named in members):
        rows = np.array(named.pairs)
        labels = assign(points.image[rows], spherical_kmeans(points.image[rows], 3, 0, "sklearn"))
        scores.append(adjusted_rand_score(world[4][rows], labels))
    assert np.mean(scores) < 0.4


def test_only_the_clearest_members_are_kept_the_best_first(world, found):
    kept = [len(named.pairs) for members in found[1] for named in members]
    assert 0.55 * 3000 < sum(kept) < 0.65 * 3000


@pytest.mark.parametrize("library", LIBRARIES)
def test_kmeans_finds_directions_and_repeats_itself(library):
    rng = np.random.default_rng(1)
    truth = unit(rng.normal(size=(5, 20)))
    labels = rng.integers(5, size=600)
    points = unit(truth[labels] + 0.1 * rng.normal(size=(600, 20))).astype(np.float32)
    centres = spherical_kmeans(points, 5, 3, library)
    assert np.allclose(np.linalg.norm(centres, axis=1), 1, atol=1e-5)
    assert np.array_equal(np.sort(np.abs(truth @ centres.T).argmax(1)), np.arange(5))
    np.testing.assert_array_equal(centres, spherical_kmeans(points, 5, 3, library))
    assert len(spherical_kmeans(points[:3], 5, 3, library)) == 3


def test_an_unknown_library_is_refused():
    with pytest.raises(UserError, match="'scipy', not sklearn or faiss"):
        spherical_kmeans(np.eye(3, dtype=np.float32), 2, 0, "scipy")


def test_phrases_are_words_and_neighbours_without_stop_words():
    found = phrases("A photo of the Red-haired dog, running. My cat's x 2 toys on a sofa bed")
    assert found == {
        *("red-haired", "dog", "red-haired dog", "running", "cat's", "toys", "sofa", "bed"),
        "sofa bed",
    }


def test_candidates_set_a_class_apart():
    classes = [
        [f"a {colour} dog in a garden" for colour in ("red", "blue", "big", "old")],
        [f"a {colour} cat in a garden" for colour in ("red", "blue", "big", "old")],
    ]
    first, second = candidates(classes)
    assert first[0] == "dog" and second[0] == "cat"
    rare = candidates([["dog"] * 19 + ["zebra"], ["cat"] * 20])
    assert rare == [["dog"], ["cat"]]
    many = [" ".join(f"w{a}{b}" for a in "abcdef" for b in "abcdef")]
    assert len(candidates([many])[0]) <= CANDIDATES


def test_a_name_is_used_once_and_the_best_fit_has_it():
    options = [["dog", "pet"], ["dogs", "animal"], ["dog"]]
    scores = [np.array([0.5, 0.4]), np.array([0.9, 0.1]), np.array([0.3])]
    assert choose(options, scores) == ["pet", "dogs", ""]


NOUNS = [
    *("apple", "boat", "chair", "dragon", "engine", "feather", "guitar", "hammer", "island"),
    *("jacket", "kettle", "lemon", "mirror", "needle", "orchid", "pencil"),
]


def captioned(count: int, *, again: int = 0, seed: int = 0) -> PairFeatures:
    """Features in the small CLIP's width, with captions that name the class."""
    image, text, topic, cls, _ = sample(count, seed=seed)
    project = np.linalg.qr(np.random.default_rng(9).normal(size=(3 * DIM, DIM)))[0]
    image, text = (torch.from_numpy(unit(side @ project)).half() for side in (image, text))
    words = [NOUNS[t * CLASSES + c] for t, c in zip(topic, cls, strict=True)]
    pictures = [f"{row % (count - again)}".encode() for row in range(count)]
    captions = [f"a photo of a {word}" for word in words]
    return PairFeatures(image, text, torch.full((count,), 5), pictures, captions, "key")


@pytest.fixture(scope="module")
def clustered(clip):
    """Pairs of which every third shows a picture again, and their clusters."""
    features = captioned(1500, again=500)
    return features, cluster(features, clip, "test")


def test_clusters_have_names_of_their_captions_and_hold_out_topics(clip, clustered):
    features, hierarchy = clustered
    assert 1 <= len(hierarchy.split(True)) < len(hierarchy.split(False))
    named = [named for topic in hierarchy.topics for named in topic.classes]
    for each in named:
        assert each.name in NOUNS
        share = np.mean([each.name in features.captions[pair] for pair in each.pairs])
        assert share >= 0.15
    for topic in hierarchy.topics:
        assert len({each.name for each in topic.classes}) == len(topic.classes)
    pairs = [pair for each in named for pair in each.pairs]
    assert len(pairs) == len(set(pairs))
    assert hierarchy != cluster(features, clip, "test", seed=2)


def test_sizes_shrink_with_the_number_of_pairs_and_are_logged(clip, monkeypatch):
    sizes = []
    for count in (200, 700, 2500):
        hierarchy = cluster(captioned(count), clip, "test")
        monkeypatch.setattr(logger, "info", (lines := []).append)
        log_clusters(hierarchy)
        chosen = asdict(hierarchy.sizes)
        sizes.append(chosen["topics"] * chosen["classes"] * chosen["domains"])
        assert f"{chosen['topics']} topics of {chosen['classes']} classes" in lines[0]
        assert f"{chosen['shots']} + {chosen['queries']}" in lines[0]
        assert "where pairs suffice, 20 topics of 10 classes" in lines[0]
        for held_out in (False, True):
            TaskSampler(hierarchy, seed=1, held_out=held_out).draw(5)
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1]


def test_the_rule_for_many_pairs():
    for count, topics in ((50_000, 20), (100_000, 20), (250_000, 50), (9_000_000, 500)):
        assert next(size_candidates(count, Sizes())) == Sizes(topics, 10, 4, 10, 4, 4)
    costs = [np.prod(list(asdict(sizes).values())) for sizes in SMALLER]
    assert costs == sorted(costs, reverse=True)


def test_sizes_that_no_clusters_have_tasks_of_are_not_tried(clip, clustered, monkeypatch):
    tried, cluster_into = [], module.topics_of

    def counted(points, captions, sizes, *rest):
        tried.append(sizes)
        return cluster_into(points, captions, sizes, *rest)

    monkeypatch.setattr(module, "topics_of", counted)
    features, hierarchy = clustered
    assert cluster(features, clip, "test") == hierarchy
    few = len(tried)
    monkeypatch.setattr(module, "fewest_pairs", lambda sizes: 0)
    assert cluster(features, clip, "test") == hierarchy
    assert tried[few] == next(size_candidates(len(features.captions), Sizes())) not in tried[:few]


def test_sizes_that_are_set_stay(clip):
    hierarchy = cluster(captioned(700), clip, "test", ways=3, shots=2)
    assert hierarchy.sizes.ways == 3 and hierarchy.sizes.shots == 2
    with pytest.raises(UserError, match="TOPICS is 2, but must be at least 3"):
        cluster(captioned(100), clip, "test", topics=2)
    with pytest.raises(UserError, match="WAYS is 5, more than the 4 CLASSES"):
        cluster(captioned(100), clip, "test", classes=4, ways=5)


def test_too_few_pairs_say_how_many_are_needed(clip):
    with pytest.raises(UserError, match=r"20 pairs, .* about 150 pairs are needed") as raised:
        cluster(captioned(20), clip, "test")
    assert "\n" not in str(raised.value)
    empty = captioned(50)
    empty.tokens[:] = 1
    with pytest.raises(UserError, match="0 of them usable .50 caption not of 3 to 30 tokens"):
        cluster(empty, clip, "test")


def test_no_picture_is_in_two_classes(clustered):
    features, hierarchy = clustered
    assert hierarchy.dropped["picture again"] == 500
    pairs = [pair for topic in hierarchy.topics for each in topic.classes for pair in each.pairs]
    assert len({features.pictures[pair] for pair in pairs}) == len(pairs)


def test_medoid_captions_as_names(clip):
    hierarchy = cluster(captioned(700), clip, "test", names="medoid")
    for topic in hierarchy.topics:
        assert all(re.fullmatch(r"a photo of a \w+", each.name) for each in topic.classes)
    with pytest.raises(UserError, match="'words', not phrase or medoid"):
        cluster(captioned(100), clip, "test", names="words")


def test_the_report_shows_every_class_and_escapes_captions(clip, tmp_path, monkeypatch):
    from softprompt.core.meta.pairs import generated
    from softprompt.core.meta.pairs.sources import open_pairs

    features = captioned(800)
    features.captions[:] = [f"{caption} <b>\u202e\x1b\ud800" for caption in features.captions]
    hierarchy = cluster(features, clip, "drawn:800")
    pairs = open_pairs("drawn:800")
    monkeypatch.setattr(generated, "_pair", lambda index: (np.zeros((64, 64, 3), np.uint8), ""))
    write_page(hierarchy, pairs, features, tmp_path / "page.html", "1 name of <mine>")
    page = (tmp_path / "page.html").read_text()
    for topic in hierarchy.topics:
        assert all(f"<b>{each.name}</b>" in page for each in topic.classes)
    assert "<p>1 name of &lt;mine&gt;</p>" in page
    assert "held out" in page and "<b>”" not in page and "&lt;b&gt;" in page
    assert r"\u202e\u001b\ud800" in page and not {"\u202e", "\x1b"} & set(page)
    assert page.count("data:image/jpeg;base64,") > 50 and "http" not in page


def test_the_tool_clusters_and_ends_in_one_line_for_too_few_pairs(tmp_path, capsys):
    from clusters import main

    given = ["--pretrained", "", "--cache", str(tmp_path)]
    assert main(["drawn:30", *given]) == 2
    error = capsys.readouterr().err
    assert re.fullmatch(r"error: no meta-training task can be made from drawn:30.*\n", error)
    assert main(["drawn:30", *given, "--ways", "1"]) == 2
    assert capsys.readouterr().err.startswith("error: WAYS is 1, but must be at least 2")


@pytest.mark.slow
def test_a_share_of_the_pairs_and_of_the_topics(clip):
    features = captioned(1500)
    half, most = (cluster(features, clip, "test", kept=kept, topics=8) for kept in (0.5, 0.9))
    dropped = [h.dropped["picture and caption agree least"] for h in (half, most)]
    assert dropped[0] == pytest.approx(750, abs=2) and dropped[1] == pytest.approx(150, abs=2)
    few, many = (cluster(features, clip, "test", held_out=share, topics=8) for share in (0.1, 0.5))
    assert len(few.split(True)) == 1 and len(many.split(True)) > 1
    able = [topic for topic in many.topics if topic.has_task(many.sizes)]
    assert len([topic for topic in able if not topic.held_out]) >= 2
    for options in ({"kept": 0.0}, {"held_out": 1.5}):
        with pytest.raises(UserError, match="must be a share above 0"):
            cluster(features, clip, "test", **options)


BROKEN = {
    "cut": (lambda tree: None, "holds no clusters"),
    "list": (lambda tree: [1], "it is list, not dict"),
    "future": (lambda tree: tree | {"format": 2}, r"has format 2, .* needs a newer softprompt"),
    "no key": (lambda tree: {k: v for k, v in tree.items() if k != "key"}, "it has no 'key'"),
    "sizes": (lambda tree: tree | {"sizes": {}}, "it has no 'sizes.topics'"),
    "topics": (lambda tree: tree | {"topics": [3]}, "is damaged: TypeError"),
    "pairs": (lambda tree: tree | {"total": 3}, "is damaged: ValueError: the pair"),
    "another": (lambda tree: tree | {"more": 1}, "is damaged: TypeError"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_damaged_clusters_are_one_line_and_made_again(kind, clustered, tmp_path, caplog):
    _, hierarchy = clustered
    file = tmp_path / "clusters.json"
    hierarchy.save(file)
    assert Hierarchy.load(file) == hierarchy
    change, says = BROKEN[kind]
    tree = change(json.loads(file.read_text()))
    file.write_text("{" if tree is None else json.dumps(tree))
    with pytest.raises(UserError, match=says) as raised:
        Hierarchy.load(file)
    assert str(file) in str(raised.value) and "\n" not in str(raised.value)
    assert corpus._cached_clusters(file) is None
    assert "the clusters are made again" in caplog.text
