import pytest

from softprompt.core.base.errors import UserError
from softprompt.core.base.registry import TRAINERS, Registry


@pytest.fixture
def animals():
    registry = Registry("animal", "cls()")

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


def test_register_needs_a_name(animals):
    with pytest.raises(TypeError, match="register\\('name'\\)"):

        @animals.register
        class Unnamed:
            pass


def test_the_official_spelling_finds_the_trainer():
    assert TRAINERS["ProMetaR"] is TRAINERS["prometar"]
