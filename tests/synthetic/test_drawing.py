"""The generated pictures: same bytes everywhere, distinct, of disjoint classes."""

import hashlib
import re

import numpy as np
import pytest

from softprompt.core.synthetic import DOMAINS, EVALUATED_DOMAINS, FAMILIES, SIZE, captions, draw
from softprompt.core.synthetic.looks import LOOKS

# A change of these is a change of the datasets: results before and after cannot be compared.
DIGESTS = {
    ("shapes", "star", "plain", 0): "cb64fd5289811e17",
    ("shapes", "butterfly", "v2", 20003): "bc661597f64c0335",
    ("shapes", "key", "sketch", 1): "7560bd7d6ce3187b",
    ("shapes", "cup", "rendition", 7): "2f132f6d8d971541",
    ("shapes", "fish", "cluttered", 20059): "521b1c6a89f80d0d",
    ("patterns", "bricks", "plain", 0): "714bfe3904c8ad4b",
    ("extra", "moon", "web", 0): "b5309c0c11b2526a",
}
PAIR_DIGEST = "df87feb1ba24f737"  # of the pairs that the embedded CLIP was trained on


@pytest.mark.parametrize(("family", "classname", "domain", "index"), DIGESTS)
def test_bytes_are_the_same_on_every_platform(family, classname, domain, index):
    digest = hashlib.sha256(draw(family, classname, domain, index).tobytes()).hexdigest()
    assert digest[:16] == DIGESTS[family, classname, domain, index]


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_class_can_be_drawn_in_every_domain(family, domain):
    for classname in FAMILIES[family]:
        picture = draw(family, classname, domain, 0)
        assert picture.shape == (SIZE, SIZE, 3) and picture.dtype == np.uint8
        assert picture.std() > 1


def test_index_and_seed_change_the_picture():
    keys = [(index, seed) for index in range(100) for seed in range(3)]
    pictures = {draw("shapes", "star", "plain", index, seed).tobytes() for index, seed in keys}
    assert len(pictures) == len(keys)


def test_class_names_are_of_one_family_only():
    names = [name for family in FAMILIES.values() for name in family]
    assert len(names) == len(set(names))
    assert len(FAMILIES["shapes"]) % 2 == 0
    assert set(EVALUATED_DOMAINS) < set(DOMAINS)


def test_unknown_classes_and_domains_are_named():
    with pytest.raises(KeyError, match="moon"):
        draw("shapes", "moon", "plain", 0)
    with pytest.raises(KeyError, match="attic"):
        draw("shapes", "star", "attic", 0)


def test_captions_name_their_class_unless_wrong():
    for index in range(50):
        _, caption = captions.pair(index, families=("extra",), wrong=0)
        assert any(name in caption for name in FAMILIES["extra"])
        assert "{" not in caption


def test_captions_without_evaluated_domains_and_classes(monkeypatch):
    looks = []
    monkeypatch.setattr(captions, "paint", lambda dice, name, look, *colours: looks.append(look))
    options = {"families": ("extra",), "evaluated": False, "unsaid": 50}
    sentences = [captions.pair(index, **options)[1] for index in range(3000)]
    sentences = [sentence.replace("pixel art", "") for sentence in sentences]  # not evaluated
    domains = [word for word, (domain, _) in captions._WORDS.items() if domain]
    assert {domain for domain, _ in captions._WORDS.values() if domain} < set(EVALUATED_DOMAINS)
    for word in (*domains, *EVALUATED_DOMAINS, *FAMILIES["shapes"], *FAMILIES["patterns"]):
        pattern = re.compile(rf"\b{re.escape(word)}s?\b")
        assert not [sentence for sentence in sentences if pattern.search(sentence)], word
    evaluated = [LOOKS[domain] for domain in EVALUATED_DOMAINS]
    assert not [look for look in looks if look in evaluated]


def test_unsaid_looks_leave_the_pretraining_pairs_as_they_are():
    picture, caption = captions.pair(0)
    digest = hashlib.sha256(picture.tobytes() + caption.encode()).hexdigest()[:16]
    assert digest == PAIR_DIGEST
