"""The hand-written sentences, dataset by dataset, as each paper's code has them."""

import hashlib

import pytest

from softprompt.core.base.errors import UserError
from softprompt.core.base.registry import DATASETS
from softprompt.core.prompts.templates import PHOTO, PRESETS, SELECT, templates_of

# dataset: CoOp's, KgCoOp's, ProGrad's
SENTENCES = {
    "oxford_pets": (
        "a photo of a {}, a type of pet.",
        "a photo of a {}, a type of pet.",
        "a type of pet, a photo of a {}.",
    ),
    "oxford_flowers": (
        "a photo of a {}, a type of flower.",
        "a photo of a {}, a type of flower.",
        "a type of flower, a photo of a {}.",
    ),
    "fgvc_aircraft": (
        "a photo of a {}, a type of aircraft.",
        "a photo of a {}, a type of aircraft.",
        "a type of aircraft, a photo of a {}.",
    ),
    "dtd": ("{} texture.", "a photo of a {}, a type of texture.", "a texture of {}."),
    "eurosat": ("a centered satellite photo of {}.",) * 3,
    "food101": (
        "a photo of {}, a type of food.",
        "a photo of {}, a type of food.",
        "a type of food, a photo of {}.",
    ),
    "ucf101": ("a photo of a person doing {}.",) * 3,
}
PLAIN_ONES = (
    *("stanford_cars", "sun397", "caltech101", "imagenet"),
    *("imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r"),
)
SENTENCES |= dict.fromkeys(PLAIN_ONES, ("a photo of a {}.",) * 3)


@pytest.mark.parametrize("name", SENTENCES)
def test_sentences_of_the_papers(name):
    dataset = DATASETS[name]
    found = [templates_of(dataset, preset) for preset in ("coop", "kgcoop", "prograd")]
    assert found == [(sentence,) for sentence in SENTENCES[name]]
    assert templates_of(dataset, "clip") == (PHOTO,)


@pytest.mark.parametrize("name", DATASETS.names())
@pytest.mark.parametrize("preset", PRESETS)
def test_every_sentence_has_one_place_for_the_name(name, preset):
    assert all(sentence.count("{}") == 1 for sentence in templates_of(DATASETS[name], preset))


def test_imagenet_ensemble_is_clips():
    sentences = templates_of(None, "imagenet")
    assert len(sentences) == 80
    assert hashlib.sha256("\n".join(sentences).encode()).hexdigest().startswith("4f976686")


def test_select_has_the_dataset_s_own_sentence_but_for_imagenet():
    assert templates_of(None, "select") == templates_of(DATASETS["imagenet"], "select") == SELECT
    assert templates_of(DATASETS["dtd"], "select") == (*SELECT, "{} texture.")
    assert templates_of(DATASETS["imagenet_a"], "select") == (*SELECT, PHOTO)
    assert templates_of(DATASETS["folder"], "select") == SELECT


def test_own_pictures_have_the_plain_sentence_or_a_given_one():
    assert templates_of(DATASETS["folder"], "coop") == templates_of(None, "ProGrad") == (PHOTO,)
    assert templates_of(DATASETS["dtd"], "a sketch of a {}.") == ("a sketch of a {}.",)


def test_unknown_preset_names_the_closest():
    with pytest.raises(UserError) as error:
        templates_of(DATASETS["dtd"], "progard")
    assert "no templates named 'progard'; did you mean 'prograd'?" in str(error.value)
