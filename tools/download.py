"""Fetch datasets into CoOp's disk layout, and verify what is there."""

import argparse
import sys
from pathlib import Path

import _checkout  # noqa: F401

from softprompt.core.base.cli import Parser, at_least, command, refuse_together
from softprompt.core.base.say import say


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(
        description=__doc__,
        epilog="examples: python tools/download.py eurosat dtd --root DATA; "
        "python tools/download.py eurosat --root DATA --check; python tools/download.py --list",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="datasets, or all; see --list")
    parser.add_argument("--root", help="DATASET.ROOT, the folder that holds the datasets")
    parser.add_argument("--list", action="store_true", help="print size, licence and source")
    parser.add_argument("--dry-run", action="store_true", help="print what would be fetched")
    parser.add_argument("--check", action="store_true", help="verify the disk, fetch nothing")
    parser.add_argument("--quick", action="store_true", help="with --check: do not read pictures")
    parser.add_argument(
        "--jobs", type=at_least(0), default=0, help="with --check: processes; 0: all"
    )
    parser.add_argument(
        "--make-split", action="store_true", help="make a missing split; results then say so"
    )
    parser.add_argument("--url", default="", help="take this archive, an address or a file")
    parser.add_argument("--sha256", default="", help="with --url: what its content must have")
    parser.add_argument("--mirror", default="", help="address to look for the archives at first")
    return parser.parse_args(arguments)


def check_flags(given: argparse.Namespace, names: list[str]) -> Path:
    """Return the root, or raise ``UserError`` for flags that do not fit together."""
    from softprompt.core.base.errors import UserError
    from softprompt.core.download.request import check_address

    if given.check:
        refuse_together(given, "--check", "--dry-run", "--url", "--mirror", "--make-split")
    if not given.root:
        raise UserError("--root is missing, the folder that holds the datasets")
    root = Path(given.root).expanduser()
    if given.check and not root.is_dir():
        raise UserError(f"--root {root}: there is no such folder to check")
    if (given.quick or given.jobs) and not given.check:
        raise UserError("--quick and --jobs N belong to --check")
    for flag, address in (("--url", given.url), ("--mirror", given.mirror)):
        check_address(address, flag)
    if given.sha256 and not given.url:
        raise UserError("--sha256 belongs to --url")
    if given.url and len(names) != 1:
        raise UserError(f"--url is an archive of one dataset, but {len(names)} are named")
    if given.url and "://" not in given.url and not Path(given.url).expanduser().is_file():
        raise UserError(f"--url {given.url} is neither an address nor a file")
    return root


@command("interrupted; the same command goes on where this one stopped")
def main(arguments: list[str]) -> int:
    given = parse(arguments)
    from softprompt.core.base.errors import UserError
    from softprompt.core.base.log import log_to_console
    from softprompt.core.base.plugins import import_built_in
    from softprompt.core.download import check, report
    from softprompt.core.download.request import datasets_named, get_all, own_archive

    log_to_console()
    if not given.names and not given.list:
        raise UserError("name one or more datasets, or all; --list shows them")
    names = datasets_named(given.names or ["all"])
    if given.list:
        refuse_together(
            given, "--list", "--check", "--dry-run", "--url", "--mirror", "--make-split"
        )
        say(report.listing(names))
        return 0
    root = check_flags(given, names)
    import_built_in()
    if given.check:
        findings = [check.check(name, root, not given.quick, given.jobs) for name in names]
        say(report.verdict(findings))
        return 1 if any(found.wrong for found in findings) else 0
    own = own_archive(given.url, given.sha256)
    if given.dry_run:
        say(report.plan(names, root, own, given.mirror))
        return 0
    return 2 if get_all(names, root, own, given.mirror, given.make_split) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
