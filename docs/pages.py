"""The pages of the site that are made from the code and from the files beside it.

MkDocs calls ``on_files`` as a hook (see ``mkdocs.yml``) with the pages that lie in ``docs/``.
"""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

if TYPE_CHECKING:
    from softprompt.core.config.schema import Key

ROOT = Path(__file__).resolve().parents[1]
COPIED = {
    "index.md": "README.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "security.md": "SECURITY.md",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made to those that are written."""
    sys.path[:0] = [path for path in (str(ROOT), str(ROOT / "tools")) if path not in sys.path]
    for uri, make in PAGES.items():
        files.append(File.generated(config, uri, content=make()))
    return files


def on_page_markdown(markdown: str, **_) -> str:
    """Put the table of rooms where a page asks for it."""
    return markdown.replace("<!-- rooms -->", rooms()) if "<!-- rooms -->" in markdown else markdown


def copied(page: str) -> str:
    """Return a file of the top folder as a page: links into ``docs/`` become links of the site.

    A link to any other file of the repository becomes its name, for the site does not hold it.
    """
    pages = {name: page for page, name in COPIED.items()}

    def link(match: re.Match) -> str:
        text, target = match[1], match[2]
        file, hash_, anchor = target.partition("#")
        if re.match(r"[a-z]+:|#", target):
            return match[0]
        if file in pages:
            return f"[{text}]({pages[file]}{hash_}{anchor})"
        if file.startswith("docs/"):
            return f"[{text}]({target.removeprefix('docs/')})"
        return text if text.startswith("`") else f"{text} (`{file}`)"

    text = (ROOT / COPIED[page]).read_text(encoding="utf-8")
    return re.sub(r"\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)", link, text)


def options() -> str:
    """Return the keys that belong to no component, those of meta-training last; a table a node."""
    from softprompt.core.config.options import option_keys
    from softprompt.core.config.schema import KEYS
    from softprompt.core.meta.config import SECTIONS

    nodes: dict[str, list[Key]] = {}
    for key in KEYS:
        node, dot, _ = key.name.partition(".")
        nodes.setdefault(node if dot else "The run", []).append(key)
    run = [f"## {node}\n\n{_table(keys)}" for node, keys in nodes.items()]
    owned = [
        f"### META.{name}\n\n{_table(option_keys(f'META.{name}', owner))}"
        for name, owner in SECTIONS.items()
    ]
    return "\n\n".join([_OPTIONS, *run, _META, *owned]) + "\n"


_OPTIONS = """# Options

Every key of a run's configuration that belongs to no learner, trainer or dataset; theirs are under
[components](components.md). Set them in a YAML file or as `KEY VALUE` on the command line, see
[configurations](../guide/configs.md)."""
_META = """## Meta-training

`tools/meta_train.py` has these besides `INPUT`, `MODEL`, `PROMPT` and the keys of the run, see
[meta-learned prompts](../guide/meta-learning.md)."""


def components() -> str:
    """Return the options of every registered learner, trainer and dataset."""
    from softprompt.core.base.plugins import import_built_in
    from softprompt.core.config.options import COMPONENTS, entry_of

    import_built_in()
    lines = [_COMPONENTS]
    for node, registry in COMPONENTS.items():
        lines.append(f"## {registry.kind.capitalize()}s")
        for name in registry.names():
            entry = entry_of(node, name, registry[name])
            paper = f" ([paper]({entry.paper}))" if entry.paper else ""
            lines.append(f"### `{name}` {{: #{node.lower()}-{name} }}\n\n{entry.about}{paper}.")
            lines += [_table(entry.options)] if entry.options else []
    return "\n\n".join(lines) + "\n"


_COMPONENTS = """# Options of learners, trainers and datasets

The keyword-only arguments of a registered class are its options, under a node of its own:
`prometar`'s argument `adapt_lr` is `TRAINER.PROMETAR.ADAPT_LR`. `python tools/catalogue.py` prints
the same lists in a terminal, with the classes of your own files after the word `PLUGINS`."""


def _table(keys: "Iterable[Key]") -> str:
    """Return a table of configuration keys; the column of what they take only where one is told."""
    rows = []
    for key in keys:
        takes = ", ".join(f"`{_shown(choice)}`" for choice in key.choices) or key.takes
        rows.append([f"`{key.name}`", key.type, f"`{_shown(key.default)}`", key.meaning, takes])
    told = 5 if any(row[4] for row in rows) else 4
    heads = ["key", "type", "default", "meaning", "takes"][:told]
    return "\n".join([_row(heads), "|---" * told + "|", *(_row(row[:told]) for row in rows)])


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _shown(value: object) -> str:
    """Return a value as the command line takes it."""
    return '""' if value == "" else str(value)


def rooms() -> str:
    """Return a table of core's rooms, each from its ``__init__.py``, in the order of imports."""
    tests = ast.parse((ROOT / "tests/test_architecture.py").read_text())
    order = next(
        ast.literal_eval(node.value)
        for node in tests.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "ROOMS"
    )
    lines = [_row(["room", "holds", "may import"]), "|---|---|---|"]
    for room in order:
        code = ast.parse((ROOT / "core" / room / "__init__.py").read_text())
        about, _, imports = (ast.get_docstring(code) or "").partition("May import:")
        cells = [about.replace("``", "`"), imports]
        lines.append(_row([f"`core/{room}`", *(" ".join(cell.split()) for cell in cells)]))
    return "\n".join(lines)


def commands() -> str:
    """Return what ``--help`` prints of every tool."""
    tools = [file.name for file in sorted((ROOT / "tools").iterdir())]
    tools = [name for name in tools if name[0] != "_" and name.endswith((".py", ".sh"))]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        texts = list(pool.map(lambda name: _tool(name, "--help"), tools))
    sections = [
        f"## {name}\n\n```text\n{text.strip()}\n```"
        for name, text in zip(tools, texts, strict=True)
    ]
    return "\n\n".join([_COMMANDS, *sections]) + "\n"


def _tool(name: str, *arguments: str) -> str:
    """Return what a tool prints."""
    program = "bash" if name.endswith(".sh") else sys.executable
    done = subprocess.run(
        [program, f"tools/{name}", *arguments],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


_COMMANDS = """# Commands

Every command is run from the top folder of the repository, or by its path from any other; a
relative path in its arguments is relative to where you are. `KEY VALUE` pairs set any [option of
the configuration](options.md) and may stand among the flags. `--a_flag` is read as `--a-flag`, and
`--seed` and `--seeds` are one.

| exit code | means |
|---|---|
| 0 | done |
| 1 | some of several runs failed, a check found something, or an error of a plugin's method or of \
this package: told in one line that names its type, file, line and class |
| 2 | a mistake that you can mend, or a full disk, told in one line |
| 130 | interrupted by Ctrl-C |
| 143 | ended by SIGTERM or SIGUSR1 |

`--debug`, or the environment variable `SOFTPROMPT_DEBUG=1`, also prints the traceback; a run's
`log.txt` holds that of an error that ended it. Flags that would do nothing are refused, as are
places that cannot be written, before any work begins."""


def python_names() -> str:
    """Return a page with the documentation of every name of ``softprompt.core``."""
    from softprompt.core import MODULES

    sections = [
        f"::: softprompt.core.{module}.{name}"
        for module, names in MODULES.items()
        for name in names
    ]
    return "\n\n".join([_PYTHON, *sections]) + "\n"


_PYTHON = """# Python

`from softprompt.core import NAME` gives every name below. They are what a plugin needs, and are
kept stable; other modules of the package may change from version to version."""

PAGES: dict[str, Callable[[], str]] = {
    **{page: lambda page=page: copied(page) for page in COPIED},
    "reference/options.md": options,
    "reference/components.md": components,
    "reference/cli.md": commands,
    "reference/python.md": python_names,
}
