"""The tables that the download command prints."""

from pathlib import Path

from tabulate import tabulate

from softprompt.core.data.sources import SOURCES, File
from softprompt.core.download.check import Finding
from softprompt.core.download.get import sources_of
from softprompt.core.download.place import absent_parts

SHOWN = 10  # pictures named below the table, per dataset


def listing(names: list[str]) -> str:
    """Return a table of size, licence and source of datasets."""
    rows = []
    for name in names:
        entry = SOURCES[name]
        size = next((file.size for file in entry.sources if file.size), 0)
        counts = " / ".join(f"{count:,}" for count in entry.counts)
        rows.append((name, _gigabytes(size), entry.classes, counts, entry.licence, entry.home))
    heads = ("dataset", "download", "classes", "train / val / test", "licence", "source")
    return tabulate(rows, heads)


def plan(names: list[str], root: Path, own: File | None, mirror: str) -> str:
    """Return what would be downloaded, in the order in which it is tried, and its destination."""
    lines = []
    for name in names:
        entry = SOURCES[name]
        if not absent_parts(entry, root):
            lines.append(f"{name}: the pictures are in {root / entry.folder}")
            continue
        lines.append(f"{name}, to {root / entry.folder}:")
        sources = sources_of(entry, own, mirror)
        lines += [f"  {file.url} ({_gigabytes(file.size)})" for file in sources]
        if not sources:
            lines.append(f"  archives that you fetch with an account: {entry.home}")
    return "\n".join(lines)


def verdict(findings: list[Finding]) -> str:
    """Return the table of ``--check``, and below it the problems."""
    rows = []
    for found in findings:
        decoded = "-" if found.undecodable is None else len(found.undecodable)
        state = "WRONG" if found.wrong else "ok"
        rows.append((found.name, found.classes, *found.counts, len(found.missing), decoded, state))
    heads = ("dataset", "classes", "train", "val", "test", "missing", "undecodable", "")
    lines = [tabulate(rows, heads)]
    for found in findings:
        lines += [f"{found.name}: {line}" for line in (found.wrong, found.note) if line]
        for bad in ([f"missing: {path}" for path in found.missing], found.undecodable or []):
            lines += [f"  {line}" for line in bad[:SHOWN]]
            if len(bad) > SHOWN:
                lines.append(f"  ... and {len(bad) - SHOWN:,} more")
    return "\n".join(lines)


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size else "?"
