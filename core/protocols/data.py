"""Whether the data of cells are there, before the first of them begins."""

from collections.abc import Sequence

from softprompt.core.base.errors import UserError
from softprompt.core.base.registry import DATASETS
from softprompt.core.config.options import options_from
from softprompt.core.protocols.cells import Cell


def check_data(cells: Sequence[Cell]) -> None:
    """Raise ``UserError`` if a dataset that a cell still needs cannot be opened on this machine.

    Only its folder and its lists are looked at; a missing picture is found by its cell.
    """
    distinct = {
        (cell.config_file, cell.dataset_file): cell for cell in cells if not cell.finished()
    }
    seen: set[tuple] = set()
    missing: dict[str, UserError] = {}
    for cell in distinct.values():
        cfg = cell.configuration()
        options = options_from(cfg, "DATASET")
        place = (cfg.DATASET.NAME, cfg.DATASET.ROOT, *map(str, options.items()))
        if place in seen:
            continue
        seen.add(place)
        try:
            DATASETS[cfg.DATASET.NAME](cfg.DATASET.ROOT, **options)
        except UserError as error:
            missing.setdefault(cfg.DATASET.NAME, error)
    if missing:
        (first, error), *others = missing.items()
        more = f"; nor can {', '.join(name for name, _ in others)} be opened" if others else ""
        raise UserError(f"{first}: {error}{more}")
