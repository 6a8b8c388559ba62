"""Print what is registered: datasets, prompt learners and trainers with options and papers."""

import argparse
import json
import shutil
import sys
import textwrap
from collections.abc import Iterator

import _checkout  # noqa: F401

from softprompt.core.base.cli import command
from softprompt.core.config.entries import Entry, Option, entry_of

NARROWEST = 34  # of the column that also holds the link

Entries = dict[str, list[Entry]]  # by the config's node: DATASET, PROMPT, TRAINER


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="examples: python tools/catalogue.py trainers; python tools/catalogue.py prometar; "
        "python tools/catalogue.py --markdown PLUGINS mine.py yours.py",
    )
    parser.add_argument(
        "words",
        nargs="*",
        metavar="NAME",
        help="show only these names or kinds (datasets, learners, trainers); after the word "
        "PLUGINS stand modules or .py files that register classes of your own",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help="as Markdown tables")
    form.add_argument("--json", action="store_true", help="as JSON, with what each option means")
    return parser.parse_intermixed_args(arguments)


def chosen(words: list[str]) -> tuple[Entries, bool]:
    """Return the entries that ``words`` name, and whether only single ones are named.

    Raises:
        UserError: a word names nothing.
    """
    from softprompt.core.base.errors import UserError, closest
    from softprompt.core.base.registry import normalized
    from softprompt.core.config.load import COMPONENTS

    kinds = {}
    for component, registry in COMPONENTS.items():
        for kind in (component.lower(), normalized(registry.kind), registry.kind.split()[-1]):
            kind = kind.replace(" ", "_")
            kinds |= {kind: component, f"{kind}s": component}
    wanted: dict[str, set[str]] = {component: set() for component in COMPONENTS}
    keys = [normalized(word).replace(" ", "_") for word in words]
    for word, key in zip(words, keys, strict=True):
        holders = [component for component, registry in COMPONENTS.items() if key in registry]
        for component in holders:
            wanted[component].add(key)
        if key in kinds and not holders:
            wanted[kinds[key]].update(COMPONENTS[kinds[key]].names())
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
            if name in wanted[component] or not words
        ]
        for component, registry in COMPONENTS.items()
    }
    alone = bool(keys) and not any(key in kinds for key in keys)
    return {component: found for component, found in entries.items() if found}, alone


def tables(entries: Entries) -> Iterator[str]:
    """Yield a table for each component, as wide as the terminal where its links allow."""
    from tabulate import tabulate

    from softprompt.core.config.load import COMPONENTS

    columns = shutil.get_terminal_size((110, 24)).columns
    for component, found in entries.items():
        options = ["\n".join(_short(option) for option in entry.options) for entry in found]
        heads = [COMPONENTS[component].kind, "what it is", f"options under {component}.<NAME>"]
        # tabulate keeps two columns free beside a heading, and two between columns
        taken = max(len(heads[0]) + 2, *(len(entry.name) for entry in found)) + 4
        lines = [line for cell in options for line in cell.splitlines()]
        taken += max(len(heads[2]) + 2, *map(len, lines)) if lines else 0
        width = max(NARROWEST, columns - taken)
        rows = []
        for entry, cell in zip(found, options, strict=True):
            about = "\n".join([*textwrap.wrap(entry.about, width), entry.paper]).strip()
            rows.append([entry.name, about, cell] if any(options) else [entry.name, about])
        yield tabulate(rows, heads[: len(rows[0])], disable_numparse=True)


def sheets(entries: Entries) -> Iterator[str]:
    """Yield all that is known of each entry, one after the other."""
    from tabulate import tabulate

    from softprompt.core.config.load import COMPONENTS

    for component, found in entries.items():
        for entry in found:
            lines = [f"{component}.NAME {entry.name}, {COMPONENTS[component].kind}: {entry.about}"]
            lines += [entry.paper] * bool(entry.paper) + [entry.place]
            rows = [[o.key, o.type, repr(o.default), o.meaning] for o in entry.options]
            if rows:
                heads = ["option", "type", "default", "meaning"]
                limits = [None, None, None, 60]
                lines += ["", tabulate(rows, heads, disable_numparse=True, maxcolwidths=limits)]
            yield "\n".join(lines)


def markdown(entries: Entries) -> Iterator[str]:
    """Yield a Markdown table for each component."""
    from tabulate import tabulate

    from softprompt.core.config.load import COMPONENTS

    for component, found in entries.items():
        heads = [COMPONENTS[component].kind, "what it is", "paper", "options and defaults"]
        rows = []
        for entry in found:
            options = "<br>".join(f"`{_short(option)}`" for option in entry.options)
            row = [f"`{entry.name}`", entry.about, f"<{entry.paper}>" if entry.paper else "–"]
            rows.append([cell.replace("|", "\\|") for cell in (*row, options or "–")])
        yield tabulate(rows, heads, tablefmt="github", disable_numparse=True)


def _short(option: Option) -> str:
    return f"{option.key.rpartition('.')[2]}: {option.type} = {option.default!r}"


def as_json(entries: Entries) -> str:
    """Return the entries as JSON: node, then name, then what is known."""
    plain = {
        component: {
            entry.name: {
                **entry._asdict(),
                "options": [option._asdict() for option in entry.options],
            }
            for entry in found
        }
        for component, found in entries.items()
    }
    return json.dumps(plain, indent=1, default=str)


@command()
def main(arguments: list[str]) -> int:
    given = parse(arguments)
    from softprompt.core.base.plugins import import_built_in, import_plugins
    from softprompt.core.config.values import coerce

    words, plugins = given.words, []
    if "PLUGINS" in words:
        split = words.index("PLUGINS")
        words, plugins = words[:split], words[split + 1 :]
    import_built_in()
    for plugin in plugins:  # one a word, or all in one as for tools/train.py: "(a.py, b.py)"
        import_plugins(coerce(plugin, (), "PLUGINS", "the command line"))
    entries, alone = chosen(words)
    if given.json:
        print(as_json(entries))
    else:
        form = markdown if given.markdown else sheets if alone else tables
        print("\n\n".join(form(entries)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
