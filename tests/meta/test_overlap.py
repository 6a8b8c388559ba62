"""Which class names of the clusters are class names of evaluated datasets as well."""

import logging
import re

import clusters
import pytest
from PIL import Image

from softprompt.core import DATASETS, UserError
from softprompt.core.base.log import logger
from softprompt.core.meta.clusters.hierarchy import Hierarchy, NamedClass, Sizes, Topic
from softprompt.core.meta.clusters.overlap import evaluated_names, overlap


def named(*topics: tuple[str, ...]) -> Hierarchy:
    """Clusters with these names of classes."""
    found = tuple(Topic(tuple(NamedClass(n, ()) for n in names), False) for names in topics)
    return Hierarchy("test", "key", 0, {}, Sizes(3, 2, 2, 2, 2, 2), found)


def test_names_are_the_same_but_for_case_and_underscores():
    hierarchy = named(("annual crop land", "basset hound"), ("forest", "oak forest"), ("forest",))
    evaluated = evaluated_names(["eurosat", "oxford_pets", "shapes"])
    assert "Annual Crop Land" in evaluated["eurosat"] and "basset_hound" in evaluated["oxford_pets"]
    assert overlap(hierarchy, evaluated) == (
        "3 of the 4 class names are also classes of datasets: annual crop land, forest (eurosat); "
        "basset hound (oxford_pets); none of shapes"
    )
    assert "annual crop land and 1 more (eurosat)" in overlap(hierarchy, evaluated, most=1)
    assert overlap(named(("cloud", "sock")), {"a": ("x",), "b": ("y", "z")}) == (
        "0 of the 2 class names are also classes of datasets: none of a, b"
    )


def test_names_that_come_with_the_package_are_compared_with_unasked():
    evaluated = evaluated_names()
    assert len(evaluated["imagenet, imagenet_sketch, imagenetv2"]) == 1000
    assert evaluated["patterns"] == DATASETS["patterns"](".").classnames
    assert {"caltech101", "dtd", "eurosat", "ucf101"} < set(evaluated)
    # which 200 of the thousand is only seen in their folders
    assert not any("imagenet_a" in name for name in evaluated)


@pytest.fixture
def said(tmp_path, capsys):
    """Cluster drawn pictures; return the log and the page."""
    handler = logging.FileHandler(tmp_path / "log.txt")

    def said(*evaluated: str) -> tuple[str, str]:
        words = ["--evaluated", *evaluated] if evaluated else []
        logger.addHandler(handler)
        try:
            assert clusters.main(["drawn:250", "--cache", str(tmp_path / "cache"), *words]) == 0
        finally:
            logger.removeHandler(handler)
        log = (tmp_path / "log.txt").read_text()
        (page,) = re.findall(r"clusters to look at: (\S+)", log)[-1:]
        return log, open(page).read()

    yield said
    handler.close()


def test_the_tool_says_it_in_the_log_and_on_the_page(said, tmp_path):
    log, page = said()
    found = re.search(r"of the \d+ class names are also classes of datasets: .*", log)
    # neither classes nor domains of the drawn pairs are those that are evaluated
    assert re.search(r"; none of .*patterns, shapes, .*shapes_v2", found[0]) and found[0] in page
    name = re.search(r'<td class="name"><b>(.*?)</b>', page)[1]
    for mine in (name.upper().replace(" ", "_"), "other"):
        (tmp_path / "mine" / mine).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (8, 8)).save(tmp_path / "mine" / mine / f"{number}.png")
    log, page = said(str(tmp_path / "mine"))
    line = re.search(r"1 of the \d+ class names are also classes of datasets: .*", log)[0]
    assert line.endswith(f": {name} ({tmp_path / 'mine'})") and line in page


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("eurosta", "eurosta is neither a dataset nor a folder; did you mean 'eurosat'?"),
        ("food101", "food101 is a dataset that the package does not know the class names of"),
    ],
)
def test_a_dataset_of_unknown_names_is_refused_in_one_line(name, says):
    with pytest.raises(UserError, match=re.escape(says)) as raised:
        evaluated_names([name])
    assert "\n" not in str(raised.value)
