"""The rooms of core: which there are, and that imports point one way."""

import ast
import re
from pathlib import Path

import pytest

CORE = Path(__file__).resolve().parents[1] / "core"
# Each room imports only from those before it.
ROOMS = (
    "base",
    "synthetic",
    "config",
    "prompts",
    "clip",
    "data",
    "engine",
    "download",
    "coop",
    "protocols",
    "meta",
    "studies",
)
MODULES = sorted(file for file in CORE.rglob("*.py") if file.parent != CORE)


def imports_of(file: Path) -> list[str]:
    """Return the modules of core that a file imports, anywhere in it, as dotted names."""
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert not node.level or file.name == "__init__.py", f"{file}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found += [name for name in names if name.startswith("softprompt.core.")]
    return [name.removeprefix("softprompt.core.") for name in found]


def test_core_holds_rooms_and_nothing_else():
    folders = {place.name for place in CORE.iterdir() if place.is_dir()}
    assert folders - {"assets", "__pycache__"} == set(ROOMS)
    assert [file.name for file in CORE.glob("*.py")] == ["__init__.py"]


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_what_it_offers_and_imports_no_more(room):
    text = ast.get_docstring(ast.parse((CORE / room / "__init__.py").read_text(encoding="utf-8")))
    offers, _, imports = (text or "").partition("May import: ")
    assert offers and imports
    listed = set(re.findall(r"\w+", imports.partition(".")[0]))
    allowed = set(ROOMS) if "every other room" in imports else listed | {room}
    for file in (CORE / room).rglob("*.py"):
        others = {name.split(".")[0] for name in imports_of(file)} & set(ROOMS) - allowed
        assert not others, f"{file.relative_to(CORE)} imports {', '.join(others)}"


@pytest.mark.parametrize("room", ROOMS)
def test_imports_point_one_way(room):
    allowed = set(ROOMS[: ROOMS.index(room) + 1])
    for file in (CORE / room).rglob("*.py"):
        upward = [name for name in imports_of(file) if name.split(".")[0] in set(ROOMS) - allowed]
        assert not upward, f"{file.relative_to(CORE)} imports {', '.join(upward)}"


def module_of(name: str) -> str:
    """Return the module that ``from a.b import c`` loads: ``a.b.c`` if that is one."""
    place = CORE.joinpath(*name.split("."))
    return name if place.with_suffix(".py").is_file() or place.is_dir() else name.rpartition(".")[0]


def test_no_circle_of_imports():
    edges = {
        ".".join(file.relative_to(CORE).with_suffix("").parts): {
            module_of(name) for name in imports_of(file)
        }
        for file in MODULES
        if file.name != "__init__.py"
    }
    left = dict(edges)
    while left:
        free = [name for name, needed in left.items() if not needed & left.keys() - {name}]
        assert free, f"a circle among {', '.join(sorted(left))}"
        for name in free:
            del left[name]


def test_editors_see_what_the_facade_imports_lazily():
    import softprompt.core

    tree = ast.parse((CORE / "__init__.py").read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If) and "TYPE" in ast.dump(node)]
    shown = {
        node.module.removeprefix("softprompt.core."): tuple(alias.name for alias in node.names)
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.module
    }
    assert shown == softprompt.core.MODULES
    assert sorted(softprompt.core.__all__) == sorted(
        name for names in shown.values() for name in names
    )
