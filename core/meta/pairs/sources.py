"""Open captioned pictures by name or place, whatever their form."""

from pathlib import Path

from softprompt.core.base.errors import UserError
from softprompt.core.meta.pairs.base import Pairs
from softprompt.core.meta.pairs.files import SUFFIXES, folder_pairs, listed_pairs
from softprompt.core.meta.pairs.generated import GeneratedPairs
from softprompt.core.meta.pairs.shards import ShardPairs, find_shards

GENERATED = "drawn"
COUNT = 12_000
FORMS = (
    f"a {', '.join(SUFFIXES)} file of paths and captions, a folder of pictures each with a .txt of "
    "the same name, webdataset shards (a folder of .tar, or cc3m-{0000..0331}.tar), or "
    f"{GENERATED} or {GENERATED}:{COUNT} for generated ones"
)


def open_pairs(source: str, root: str | Path = "", *, max_skipped: float = 0.01) -> Pairs:
    """Return the captioned pictures of a source.

    Args:
        source: one of ``FORMS``, relative to ``root`` unless absolute.
        max_skipped: the share of pairs that may be skipped because they cannot be used; each
            reason is then logged in a line.

    Raises:
        UserError: there are no such pairs, or more than that share cannot be used.
    """
    if not 0 <= max_skipped < 1:
        raise UserError(f"MAX_SKIPPED is {max_skipped}, but must be a share from 0 to below 1")
    name, _, count = source.partition(":")
    if name == GENERATED:
        if count and (not count.isdecimal() or int(count) == 0):
            raise UserError(
                f"{source!r}: {count!r} is no number of pictures; give {GENERATED}:{COUNT}"
            )
        return GeneratedPairs(int(count or COUNT))
    place = place_of(source, root)
    if place.suffix.lower() == ".tar" or (place.is_dir() and any(place.glob("*.tar"))):
        return ShardPairs(str(place), find_shards(str(place)), max_skipped)
    if place.is_dir():
        return folder_pairs(place, max_skipped)
    return listed_pairs(place, max_skipped)


def place_of(source: str, root: str | Path = "") -> Path:
    """Return the file or folder of a source, or the pattern of its shards.

    Raises:
        UserError: there is none, or it is of none of the ``FORMS``.
    """
    if not source:
        raise UserError(f"no captioned pictures are named; there can be {FORMS}")
    place = Path(root).expanduser() / Path(source).expanduser()
    suffix = place.suffix.lower()
    if suffix == ".tar" or place.is_dir():
        return place
    if not place.exists():
        elsewhere = f"; did you mean {Path(source).absolute()}?" if Path(source).exists() else ""
        raise UserError(
            f"no captioned pictures at {place.absolute()}{elsewhere}; there can be {FORMS}"
        )
    if suffix not in SUFFIXES:
        raise UserError(f"{place} is none of these: {FORMS}")
    return place
