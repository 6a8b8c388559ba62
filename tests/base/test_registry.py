import pytest

from softprompt.core.base.errors import UserError
from softprompt.core.base.registry import PROMPT_LEARNERS, TRAINERS, Registry


@pytest.fixture
def animals():
    registry = Registry("animal", ())

    @registry.register("Guinea-Pig")
    class GuineaPig:
        pass

    return registry


@pytest.mark.parametrize("name", ["guinea_pig", "GUINEA_PIG", "Guinea-Pig", " guinea-pig "])
def test_names_match_without_regard_to_case(animals, name):
    assert animals[name].__name__ == "GuineaPig"
    assert name in animals


def test_unknown_name_says_what_would_work(animals):
    with pytest.raises(UserError) as error:
        animals["guinea_pug"]
    message = str(error.value)
    assert "no animal named 'guinea_pug'" in message
    assert "did you mean 'guinea_pig'?" in message
    assert "Registered: guinea_pig" in message
    assert "PLUGINS" in message
    assert "\n" not in message


def test_duplicate_says_where_both_stand(animals):
    with pytest.raises(UserError, match="registered twice.*GuineaPig.*Second.*test_registry"):

        @animals.register("guinea_pig")
        class Second:
            pass


@pytest.mark.parametrize(
    ("signature", "says"),
    [
        ("self, n_ctx=4", "too many positional arguments"),
        ("self, clip, classnames, n_ctx", "missing a required argument: 'n_ctx'"),
        ("self, *, n_ctx=4", "too many positional arguments"),
    ],
)
def test_a_constructor_that_cannot_be_called_is_refused_at_registration(signature, says):
    namespace: dict = {}
    exec(f"class Mine:\n    def __init__({signature}): pass", namespace)
    with pytest.raises(UserError) as error:
        PROMPT_LEARNERS.register("mine")(namespace["Mine"])
    message = str(error.value)
    assert "prompt learner 'mine'" in message and "Mine(clip, classnames)" in message
    assert says in message
    assert "__init__(self, clip, classnames, *, my_option=1)" in message
    assert "\n" not in message
    assert "mine" not in PROMPT_LEARNERS


@pytest.mark.parametrize(
    "signature",
    [
        "self, backbone, names",
        "self, clip, classnames, length=4",
        "self, *arguments, **options",
        "self, clip, classnames, *, without_default",  # reported when its options are read
    ],
)
def test_other_names_and_defaults_are_accepted(signature):
    registry = Registry("prompt learner", ("clip", "classnames"))
    namespace: dict = {}
    exec(f"class Mine:\n    def __init__({signature}): pass", namespace)
    assert registry.register("mine")(namespace["Mine"]) is registry["mine"]


def test_register_needs_a_name(animals):
    with pytest.raises(TypeError, match="register\\('name'\\)"):

        @animals.register
        class Unnamed:
            pass


def test_the_official_spelling_finds_the_trainer():
    assert TRAINERS["ProMetaR"] is TRAINERS["prometar"]
