"""The plan of a protocol: methods, datasets, shots and seeds, in the folders that reports read."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from yacs.config import CfgNode

from softprompt.core.base.errors import UserError, closest
from softprompt.core.base.files import CONFIGS
from softprompt.core.base.registry import normalized
from softprompt.core.config.load import load_config, paired
from softprompt.core.protocols.cells import EVALUATE, TRAIN, Cell

SHOTS = {"few_shot": (1, 2, 4, 8, 16)}  # the others: 16
TRANSFERS = ("cross_dataset", "domain_generalization")  # they share the prompts of their source
UNTRAINED = "zeroshot"
ALL = {"DATASET.SUBSAMPLE_CLASSES": "all", "TEST.CLASSES": "(all,)"}
CLASSES = {"base2new": {"DATASET.SUBSAMPLE_CLASSES": "base", "TEST.CLASSES": "(base, new)"}}
LONGEST_TAG, TAG_PREFIX = 120, 100  # characters of a folder's name that state the settings
NOT_IN_TAG = "CACHE."  # keys without influence on results


def config_path(name: str) -> str:
    """Return the absolute path of a configuration, as given or below the repository.

    Raises:
        UserError: there is no such file.
    """
    found = _first_file(Path(name).expanduser(), CONFIGS.parent / name)
    if found is None:
        raise UserError(f"no config file {name!r}; it is one such as configs/coop/vit_b16.yaml")
    return found


def dataset_path(name: str) -> str:
    """Return the absolute path of a dataset's configuration, by its path or its shipped name.

    Raises:
        UserError: there is no such file.
    """
    shipped = CONFIGS / "datasets"
    places = (Path(name).expanduser(), shipped / f"{name}.yaml", CONFIGS.parent / name)
    found = _first_file(*places)
    if found is None:
        known = sorted(file.stem for file in shipped.glob("*.yaml"))
        raise UserError(
            f"no dataset {name!r}{closest(name, known)}; there are {', '.join(known)}; one of your "
            "own is the path of a YAML file that holds its PLUGINS and DATASET.NAME"
        )
    return found


def _first_file(*places: Path) -> str | None:
    return next((str(place.absolute()) for place in places if place.is_file()), None)


def method_name(config_file: str, pairs: Sequence[str]) -> str:
    """Return the folders ``METHOD/CONFIG`` of a method's runs, with the settings in ``pairs``.

    A long list of settings is cut and marked by the POSIX ``cksum`` of all of it. Finished runs are
    found by these names, so they must not change.
    """
    file = Path(config_file)
    settings = "".join(
        f",{key}={value}"
        for key, value in zip(pairs[::2], pairs[1::2], strict=True)
        if not key.startswith(NOT_IN_TAG)
    )
    tag = re.sub(rb"[^0-9A-Za-z._,=+-]", b"_", settings.encode()).decode()
    if len(tag) > LONGEST_TAG:
        tag = f"{tag[:TAG_PREFIX]}-{_cksum(tag.encode())}"
    return f"{file.parent.name}/{file.stem}{tag}"


def _cksum(data: bytes) -> int:
    length = len(data)
    tail = length.to_bytes((length.bit_length() + 7) // 8, "little")
    crc = 0
    for byte in data + tail:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1) ^ (0x104C11DB7 if crc & 0x80000000 else 0)
    return crc ^ 0xFFFFFFFF


def plan(
    protocol: str,
    configs: Sequence[str],
    datasets: Sequence[str],
    *,
    output: Path,
    seeds: Sequence[int],
    shots: Sequence[int] = (),
    root: str | None = None,
    cache: str | None = None,
    pairs: Sequence[str] = (),
) -> list[Cell]:
    """Return the cells of a protocol, ordered so that neighbours share most.

    Args:
        configs, datasets: YAML files; of a transfer the first dataset is the source.
        shots: images a class; (): those of the protocol.
        root: the folder that holds the datasets; None: that of the configuration.
        cache: a folder of features that all runs share; None: that of the configuration.
        pairs: ``[KEY, VALUE ...]`` for all cells, which then have folders of their own.

    Raises:
        UserError: a configuration is not valid, two would write to one folder, or a dataset is
            missing.
    """
    transfers = protocol in TRANSFERS
    if len(datasets) < 1 + transfers:
        needed = "a source and at least one target dataset" if transfers else "at least one dataset"
        given = ", ".join(Path(file).stem for file in datasets)
        raise UserError(f"{protocol} needs {needed}, but is given {given or 'none'}")
    paired(pairs)
    methods: dict[str, str] = {}
    for file in configs:
        method = method_name(file, pairs)
        if methods.setdefault(method, file) != file:
            raise UserError(
                f"{methods[method]} and {file} would both write to {method}; rename one or its "
                "folder"
            )
    common: dict[str, str] = {}
    if root is not None:
        common["DATASET.ROOT"] = str(Path(root).expanduser().absolute())
    if cache is not None:
        common["CACHE.DIR"] = str(Path(cache).expanduser().absolute())
    sources, targets = (datasets[:1], datasets[1:]) if transfers else (datasets, ())
    cells: list[Cell] = []
    for (method, config), dataset, count in product(
        methods.items(), sources, shots or SHOTS.get(protocol, (16,))
    ):
        family = _Method(protocol, method, config, output, common, tuple(pairs))
        cells += family.cells(dataset, targets, count, seeds)
    return list({cell.folder: cell for cell in cells}.values())


@dataclass(frozen=True)
class _Method:
    """What all cells of one method have in common."""

    protocol: str
    method: str
    config: str
    output: Path
    common: dict[str, str]  # settings
    pairs: tuple[str, ...]

    def cells(
        self, dataset: str, targets: Sequence[str], shots: int, seeds: Sequence[int]
    ) -> list[Cell]:
        flags = {"DATASET.NUM_SHOTS": shots, **CLASSES.get(self.protocol, ALL)}
        cfg = self._load(dataset, flags)
        untrained = normalized(cfg.PROMPT.NAME) == UNTRAINED
        kind = "transfer" if self.protocol in TRANSFERS else self.protocol
        groups = {target: _group(self._load(target, ALL)) for target in targets}
        cells = []
        for seed in seeds:
            place = Path(kind, self.method, Path(dataset).stem, f"shots_{shots}", f"seed_{seed}")
            runner = EVALUATE if untrained else TRAIN
            source = self._cell(place, dataset, seed, flags, group=_group(cfg), runner=runner)
            cells.append(source)
            for target in targets:
                cells.append(
                    self._cell(
                        place / "eval" / Path(target).stem,
                        target,
                        seed,
                        ALL,
                        group=groups[target],
                        runner=EVALUATE,
                        model_dir="" if untrained else source.folder,
                        depends_on=source.folder,
                    )
                )
        return cells

    def _load(self, dataset: str, flags: dict) -> CfgNode:
        return load_config(self.config, dataset, flags, list(self.pairs))

    def _cell(self, place: Path, dataset: str, seed: int, flags: dict, **fields) -> Cell:
        return Cell.below(
            self.output,
            place,
            name=place.as_posix(),
            method=self.method,
            config_file=self.config,
            dataset_file=dataset,
            flags={"SEED": seed, **flags, **self.common},
            pairs=self.pairs,
            **fields,
        )


def _group(cfg: CfgNode) -> tuple[str, ...]:
    backbone = cfg.MODEL.BACKBONE
    return (backbone.NAME, backbone.PRETRAINED, cfg.MODEL.PRECISION, cfg.DATASET.NAME)
