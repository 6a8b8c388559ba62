"""The catalogue of registered datasets, prompt learners and trainers, with options and papers."""

import json
import shutil
import textwrap
from collections.abc import Iterator, Sequence

from tabulate import tabulate

from softprompt.core.base.errors import UserError, closest
from softprompt.core.base.escape import as_markdown, as_markdown_code, one_line
from softprompt.core.base.plugins import import_built_in, import_plugins
from softprompt.core.base.registry import normalized
from softprompt.core.config.options import COMPONENTS, Entry, entry_of
from softprompt.core.config.schema import Key
from softprompt.core.config.values import coerce

MIN_WIDTH = 34  # of the column that also holds the link

Entries = dict[str, list[Entry]]  # by config node: DATASET, PROMPT, TRAINER


def catalogue(words: Sequence[str] = (), plugins: Sequence[str] = (), form: str = "text") -> str:
    """Return the entries that ``words`` select, as text for a terminal, as Markdown or as JSON.

    As text, kinds are shown as tables, and classes that are selected by name in full.

    Args:
        words: names of classes or of kinds (datasets, learners, trainers); none: everything.
        plugins: modules or .py files that register more classes, each a name or a tuple of names
            written as in a config, such as "(a.py, b.py)".
        form: "text", "markdown" or "json".

    Raises:
        UserError: a word selects nothing, or a plugin cannot be imported.
    """
    import_built_in()
    for plugin in plugins:
        import_plugins(coerce(plugin, (), "PLUGINS", "the command line"))
    entries, by_name = select(words)
    if form == "json":
        return as_json(entries)
    render = markdown if form == "markdown" else sheets if by_name else tables
    return "\n\n".join(render(entries))


def select(words: Sequence[str]) -> tuple[Entries, bool]:
    """Return the entries that ``words`` select, and whether all words are names of classes.

    Raises:
        UserError: a word selects nothing.
    """
    kinds: dict[str, str] = {}
    for component, registry in COMPONENTS.items():
        for kind in (component.lower(), normalized(registry.kind), registry.kind.split()[-1]):
            kind = kind.replace(" ", "_")
            kinds |= {kind: component, f"{kind}s": component}
    selected: dict[str, set[str]] = {component: set() for component in COMPONENTS}
    keys = [normalized(word).replace(" ", "_") for word in words]
    for word, key in zip(words, keys, strict=True):
        holders = [component for component, registry in COMPONENTS.items() if key in registry]
        for component in holders:
            selected[component].add(key)
        if key in kinds and not holders:
            selected[kinds[key]].update(COMPONENTS[kinds[key]].names())
        elif not holders:
            names = [name for registry in COMPONENTS.values() for name in registry.names()]
            raise UserError(
                f"nothing is registered as {word!r}{closest(key, [*names, *kinds])} "
                "(without a name all is shown; a class from your own file needs PLUGINS FILE.py)"
            )
    entries = {
        component: [
            entry_of(component, name, registry[name])
            for name in registry.names()
            if name in selected[component] or not words
        ]
        for component, registry in COMPONENTS.items()
    }
    by_name = bool(keys) and not any(key in kinds for key in keys)
    return {component: found for component, found in entries.items() if found}, by_name


def tables(entries: Entries) -> Iterator[str]:
    """Yield a table for each component, as wide as the terminal where its links allow."""
    columns = shutil.get_terminal_size((110, 24)).columns
    for component, found in entries.items():
        options = ["\n".join(_short(option) for option in entry.options) for entry in found]
        heads = [COMPONENTS[component].kind, "what it is", f"options under {component}.<NAME>"]
        # tabulate keeps two columns free beside a heading, and two between columns
        taken = max(len(heads[0]) + 2, *(len(entry.name) for entry in found)) + 4
        lines = [line for cell in options for line in cell.splitlines()]
        taken += max(len(heads[2]) + 2, *map(len, lines)) if lines else 0
        width = max(MIN_WIDTH, columns - taken)
        rows = []
        for entry, cell in zip(found, options, strict=True):
            about = "\n".join([*textwrap.wrap(entry.about, width), entry.paper]).strip()
            rows.append([entry.name, about, cell] if any(options) else [entry.name, about])
        yield tabulate(rows, heads[: len(rows[0])], disable_numparse=True)


def sheets(entries: Entries) -> Iterator[str]:
    """Yield everything known of each entry, one entry after the other."""
    for component, found in entries.items():
        for entry in found:
            lines = [f"{component}.NAME {entry.name}, {COMPONENTS[component].kind}: {entry.about}"]
            lines += [entry.paper] * bool(entry.paper) + [entry.place]
            rows = [[o.name, o.type, repr(o.default), o.meaning, o.takes] for o in entry.options]
            if rows:
                heads = ["option", "type", "default", "meaning", "takes"]
                limits = [None, None, None, 60, 24]
                lines += ["", tabulate(rows, heads, disable_numparse=True, maxcolwidths=limits)]
            yield "\n".join(lines)


def markdown(entries: Entries) -> Iterator[str]:
    """Yield a Markdown table for each component."""
    for component, found in entries.items():
        heads = [COMPONENTS[component].kind, "what it is", "paper", "options and defaults"]
        rows = []
        for entry in found:
            options = "<br>".join(as_markdown_code(_short(option)) for option in entry.options)
            paper = f"<{one_line(entry.paper)}>" if entry.paper else "–"
            about = as_markdown(entry.about)
            rows.append([as_markdown_code(entry.name), about, paper, options or "–"])
        yield tabulate(rows, heads, tablefmt="github", disable_numparse=True)


def _short(option: Key) -> str:
    return f"{option.name.rpartition('.')[2]}: {option.type} = {option.default!r}"


def as_json(entries: Entries) -> str:
    """Return the entries as JSON: component, then name, then the fields of ``Entry``."""
    by_component = {
        component: {
            entry.name: {
                **entry._asdict(),
                "options": [
                    {
                        "key": option.name,
                        "type": option.type,
                        "default": option.default,
                        "meaning": option.meaning,
                        "takes": option.takes,
                    }
                    for option in entry.options
                ],
            }
            for entry in found
        }
        for component, found in entries.items()
    }
    return json.dumps(by_component, indent=1, default=str)
