"""The cells of a sweep: every run of a protocol's table, in the folders of the shell tools."""

from dataclasses import dataclass
from itertools import product
from pathlib import Path

from yacs.config import CfgNode

from softprompt.core.base.errors import UserError
from softprompt.core.base.registry import normalized
from softprompt.core.config.load import load_config, paired
from softprompt.core.engine.results import FILE
from softprompt.core.protocols.naming import method_of

SHOTS = {
    "base2new": (16,),
    "few_shot": (1, 2, 4, 8, 16),
    "cross_dataset": (16,),
    "domain_generalization": (16,),
}
TRANSFERS = ("cross_dataset", "domain_generalization")  # they share the prompts of their source
UNTRAINED = "zeroshot"
ALL = {"DATASET.SUBSAMPLE_CLASSES": "all", "TEST.CLASSES": "(all,)"}
CLASSES = {
    "base2new": {"DATASET.SUBSAMPLE_CLASSES": "base", "TEST.CLASSES": "(base, new)"},
    "few_shot": ALL,
    "cross_dataset": ALL,
    "domain_generalization": ALL,
}


@dataclass(frozen=True)
class Cell:
    """One run, as plain values that travel to any worker; its places are absolute."""

    name: str
    folder: str
    claims: str  # the folder in which workers claim it
    group: tuple[str, ...]  # backbone and dataset, which cells of one worker share
    config_file: str
    dataset_file: str
    flags: dict  # what the protocol sets
    pairs: tuple[str, ...]  # what the user sets on top
    evaluate: bool = False  # train nothing
    model_dir: str = ""  # whose prompts to evaluate; "": those of a learner that learns nothing
    after: str = ""  # the folder of the cell to be finished before

    def configuration(self) -> CfgNode:
        return load_config(self.config_file, self.dataset_file, self.flags, list(self.pairs))

    def finished(self) -> bool:
        return Path(self.folder, FILE).is_file()


def plan(
    protocol: str,
    configs: list[str],
    datasets: list[str],
    *,
    output: Path,
    seeds: list[int],
    shots: list[int] = (),
    root: str | None = None,
    pairs: list[str] = (),
) -> list[Cell]:
    """Return the cells of a protocol, those that share most next to one another.

    Args:
        configs, datasets: YAML files; of a transfer the first dataset is the source.
        shots: images a class; (): what the protocol has.
        root: the folder that holds the datasets; None: that of the configuration.
        pairs: ``[KEY, VALUE ...]`` for all cells, which then have folders of their own.

    Raises:
        UserError: a configuration is not valid, two would write to one folder, or a transfer
            lacks a target.
    """
    if protocol in TRANSFERS and len(datasets) < 2:
        raise UserError(f"{protocol} needs a source and at least one target after --datasets")
    paired(pairs)
    methods: dict[str, str] = {}
    for file in configs:
        method = method_of(file, pairs)
        if methods.setdefault(method, file) != file:
            raise UserError(
                f"{methods[method]} and {file} would both write to {method}; rename one or its "
                "folder"
            )
    sources = datasets[:1] if protocol in TRANSFERS else datasets
    cells = []
    for (method, config), dataset, count in product(
        methods.items(), sources, shots or SHOTS[protocol]
    ):
        found = _Family(protocol, method, config, Path(output).absolute(), root, tuple(pairs))
        targets = datasets[1:] if protocol in TRANSFERS else []
        cells += found.cells(dataset, targets, count, seeds)
    return list({cell.folder: cell for cell in cells}.values())


@dataclass(frozen=True)
class _Family:
    """What all cells of one method have in common."""

    protocol: str
    method: str
    config: str
    output: Path
    root: str | None
    pairs: tuple[str, ...]

    def cells(self, dataset: str, targets: list[str], shots: int, seeds: list[int]) -> list[Cell]:
        found = []
        flags = {"DATASET.NUM_SHOTS": shots, **CLASSES[self.protocol]}
        cfg = load_config(self.config, dataset, flags, list(self.pairs))
        untrained = normalized(cfg.PROMPT.NAME) == UNTRAINED
        kind = "transfer" if self.protocol in TRANSFERS else self.protocol
        groups = {target: self._group(target) for target in targets}
        for seed in seeds:
            place = Path(kind, self.method, Path(dataset).stem, f"shots_{shots}", f"seed_{seed}")
            trained = self._cell(place, dataset, seed, flags, _shared(cfg), evaluate=untrained)
            found.append(trained)
            for target in targets:
                found.append(
                    self._cell(
                        place / "eval" / Path(target).stem,
                        target,
                        seed,
                        ALL,
                        groups[target],
                        evaluate=True,
                        model_dir="" if untrained else trained.folder,
                        after=trained.folder,
                    )
                )
        return found

    def _group(self, target: str) -> tuple[str, ...]:
        return _shared(load_config(self.config, target, ALL, list(self.pairs)))

    def _cell(
        self, place: Path, dataset: str, seed: int, flags: dict, group: tuple[str, ...], **how
    ) -> Cell:
        folder = self.output / place
        own = {"SEED": seed, "OUTPUT_DIR": str(folder), **flags}
        if self.root is not None:
            own["DATASET.ROOT"] = str(Path(self.root).expanduser().absolute())
        return Cell(
            name=place.as_posix(),
            folder=str(folder),
            claims=str(self.output / ".sweep" / place),
            group=group,
            config_file=self.config,
            dataset_file=dataset,
            flags=own,
            pairs=self.pairs,
            **how,
        )


def _shared(cfg: CfgNode) -> tuple[str, ...]:
    backbone = cfg.MODEL.BACKBONE
    return (backbone.NAME, backbone.PRETRAINED, cfg.MODEL.PRECISION, cfg.DATASET.NAME)
