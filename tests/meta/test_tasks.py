"""Tasks for meta-training: disjoint pictures, distinct names, the right domains, reproducible."""

from dataclasses import replace

import pytest

from softprompt.core import UserError
from softprompt.core.meta.clusters.hierarchy import Hierarchy, NamedClass, Sizes, Topic
from softprompt.core.meta.tasks import KINDS, TaskSampler

WAYS, SHOTS, QUERIES, DOMAINS = 3, 2, 4, 3


def build(topics: int = 6, classes: int = 5, per_domain: int = 12, held_out: int = 1) -> Hierarchy:
    """Pair ``((topic * classes + class) * DOMAINS + domain) * per_domain + number``."""

    def members(topic: int, cls: int, domain: int) -> tuple[int, ...]:
        first = ((topic * classes + cls) * DOMAINS + domain) * per_domain
        return tuple(range(first, first + per_domain))

    found = tuple(
        Topic(
            tuple(
                NamedClass(
                    # the first class of every topic has the same name
                    f"thing {t}-{c}" if c else "thing",
                    tuple(members(t, c, domain) for domain in range(DOMAINS)),
                )
                for c in range(classes)
            ),
            t < held_out,
        )
        for t in range(topics)
    )
    sizes = Sizes(topics, classes, DOMAINS, WAYS, SHOTS, QUERIES)
    return Hierarchy("test", "0", topics * classes * DOMAINS * per_domain, {}, sizes, found)


def sampler(hierarchy: Hierarchy | None = None, **options) -> TaskSampler:
    return TaskSampler(hierarchy or build(), **{"seed": 1, **options})


def domain(pair: int) -> int:
    return pair // 12 % DOMAINS


def class_of(pair: int) -> int:
    return pair // 12 // DOMAINS


def parts(task):
    return task.support, task.query_same, task.query_other


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("held_out", [False, True])
def test_pictures_are_disjoint_and_names_unique(kind, held_out):
    tasks = sampler(build(held_out=2), kind=kind, held_out=held_out)
    for index in range(200):
        task = tasks.draw(index)
        pairs = [pair for part in parts(task) for pair in part.pairs]
        assert len(pairs) == len(set(pairs)) == WAYS * (SHOTS + 2 * QUERIES)
        names = task.support.classnames + task.query_other.classnames
        assert len(names) == len(set(names)) == 2 * WAYS
        assert task.query_same.classnames == task.support.classnames
        assert all((class_of(pair) < 2 * 5) == held_out for pair in pairs)
        for part, count in zip(parts(task), (SHOTS, QUERIES, QUERIES), strict=True):
            assert part.labels == tuple(k for k in range(WAYS) for _ in range(count))


def test_labels_and_domains_are_those_of_the_clusters():
    tasks = sampler()
    for index in range(200):
        task = tasks.draw(index)
        by_label = {
            label: {class_of(p) for p, k in zip(part.pairs, part.labels, strict=True) if k == label}
            for part in (task.support, task.query_same)
            for label in range(WAYS)
        }
        assert all(len(classes) == 1 for classes in by_label.values())
        a, b, c = ({domain(pair) for pair in part.pairs} for part in parts(task))
        assert len(a) == len(b) == len(c) == 1 and a != b and a != c


def test_fine_and_coarse_tasks_and_other_topics():
    tasks, coarse = sampler(), 0
    for index in range(400):
        task = tasks.draw(index)
        topics = {class_of(pair) // 5 for pair in task.support.pairs}
        others = {class_of(pair) // 5 for pair in task.query_other.pairs}
        assert len(topics) in (1, WAYS) and len(others) == 1
        assert not topics & others
        coarse += len(topics) > 1
    assert 0.2 < coarse / 400 < 0.4


def test_a_task_depends_on_seed_and_index_alone():
    first, again, other = sampler(), sampler(), sampler(seed=2)
    later = again.draw(7)
    again.draw(3)
    assert first.draw(7) == later == again.draw(7)
    assert first.draw(7) != other.draw(7)
    assert first.draw(7) != first.draw(8)


def test_same_domain_control():
    tasks = sampler(same_domain=True)
    for index in range(100):
        task = tasks.draw(index)
        assert len({domain(pair) for part in parts(task) for pair in part.pairs}) == 1


def test_flat_control_mixes_topics_and_domains():
    task = sampler(kind="flat").draw(0)
    assert len({domain(pair) for pair in task.support.pairs}) > 1
    labels = zip(task.support.pairs, task.support.labels, strict=True)
    assert len({(class_of(pair), label) for pair, label in labels}) == WAYS


def test_random_control_names_a_class_by_one_of_its_pictures():
    hierarchy = build()
    names = {
        pair: cls.name for topic in hierarchy.topics for cls in topic.classes for pair in cls.pairs
    }
    right = []
    for index in range(50):
        task = sampler(hierarchy, kind="random").draw(index)
        for part, count in ((task.support, SHOTS), (task.query_other, QUERIES)):
            labelled = list(zip(part.pairs, part.labels, strict=True))
            for label, name in enumerate(part.classnames):
                members = [names[pair] for pair, k in labelled if k == label]
                assert name in members and len(members) == count
        labelled = zip(task.query_same.pairs, task.query_same.labels, strict=True)
        right += [names[pair] == task.support.classnames[k] for pair, k in labelled]
    assert sum(right) / len(right) < 0.2


def test_a_single_held_out_topic_borrows_the_other_classes():
    task = sampler(build(held_out=1), held_out=True).draw(0)
    assert {class_of(pair) // 5 for pair in task.support.pairs} == {0}
    assert {class_of(pair) // 5 for pair in task.query_other.pairs} != {0}


@pytest.mark.parametrize("larger", [{"ways": 6}, {"shots": 13}, {"queries": 13}])
def test_tasks_too_large_are_refused_in_one_line(larger):
    hierarchy = build()
    with pytest.raises(UserError, match="no task of .* more pairs") as raised:
        sampler(replace(hierarchy, sizes=replace(hierarchy.sizes, **larger)))
    assert "\n" not in str(raised.value)


def test_a_hierarchy_survives_its_file(tmp_path):
    build().save(tmp_path / "clusters.json")
    assert Hierarchy.load(tmp_path / "clusters.json") == build()
    (tmp_path / "other.json").write_text('{"format": 1}')
    with pytest.raises(UserError, match="other.json"):
        Hierarchy.load(tmp_path / "other.json")
    with pytest.raises(UserError, match="no such file"):
        Hierarchy.load(tmp_path / "none.json")
