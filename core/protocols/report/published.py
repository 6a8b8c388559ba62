"""Published numbers beside those of runs that are the same experiment."""

import csv
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from softprompt.core.base.files import ASSETS
from softprompt.core.config.yaml_files import flat_of
from softprompt.core.engine.results import ZERO_SHOT
from softprompt.core.protocols.report.remarks import in_order
from softprompt.core.protocols.report.scores import Published, Score
from softprompt.core.protocols.report.table import CLIP, Row, Table, shots_of
from softprompt.core.protocols.runs import Run, finished

FILE = ASSETS / "published_results.csv"
SETTINGS = ASSETS / "published_settings.csv"
TARGETS = (
    "caltech101 oxford_pets stanford_cars oxford_flowers food101 fgvc_aircraft sun397 dtd eurosat "
    "ucf101"
).split()
AVERAGED = {  # the datasets that a published average is over
    "base2new": {"imagenet", *TARGETS},
    "few_shot": {"imagenet", *TARGETS},
    "cross_dataset": {*TARGETS},
    "domain_generalization": {"imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r"},
}
NOT_COMPARED = "published, not compared"  # how the remark begins
# OpenAI's weights, by open_clip's tag or in the file that OpenAI published.
WEIGHTS = {"ViT-B/16": ("openai", "ViT-B-16.pt")}
# A run that changes these is still the experiment that its config describes.
HARMLESS = (
    "MODEL.BACKBONE.PRETRAINED",
    "MODEL.MEMORY_LIMIT",
    "DATALOADER.NUM_WORKERS",
    "TRAIN.",
    "TEST.TENSORBOARD",
)


class PublishedResults:
    """The numbers in ``core/assets/published_results.csv``, by experiment.

    A run is the same experiment as a published one if it has the config file, backbone, OpenAI
    weights, dataset, shots and protocol, and was tested on all of the standard test split.
    Zero-shot CLIP, whose config is "zero-shot CLIP", depends on no shots.

    Where ``core/assets/published_settings.csv`` says which settings made a method's numbers, a run
    needs these settings, too, with any of the configs that are listed there; another run of these
    configs is told the numbers, but not compared with them.
    """

    def __init__(self, file: Path = FILE, settings: Path = SETTINGS):
        self.numbers: dict[tuple, Published] = {}
        self.settings: dict[str, dict[str, str]] = {}  # by config
        self.alike: dict[str, list[str]] = {}  # configs that differ in these settings alone
        with open(settings, newline="", encoding="utf-8") as opened:
            for row in csv.DictReader(opened):
                for config in row["configs"].split():
                    self.settings.setdefault(config, {})[row["key"]] = row["value"]
                    self.alike[config] = row["configs"].split()
        with open(file, newline="", encoding="utf-8") as opened:
            for row in csv.DictReader(opened):
                place = row["config"], row["protocol"], row["backbone"], row["dataset"]
                key = (*place, row["metric"], int(row["shots"]))
                self.numbers[key] = Published(float(row["value"]), row["method"], row["source"])

    def beside(self, table: Table, runs: Iterable[Run]) -> Table:
        """Return the table with the published numbers beside its own."""
        backbones = {backbone_of(results) for _, results in finished(runs)}
        if len(backbones) != 1:
            return table
        (backbone,) = backbones
        if backbone is None:
            return table
        others = self._other_settings(table, runs)
        told: dict[str, list[str]] = {}  # numbers that are not compared, by row
        method = ""
        sources = [row.name for row in table.rows if row.name.endswith(" (source)")]
        averaged = {row.name for row in table.rows if not row.average} - set(sources)
        rows = []
        for row in table.rows:
            dataset = "average" if row.average else row.name.removesuffix(" (source)")
            cells = dict(row.cells)
            if not row.average or averaged == AVERAGED[table.kind]:
                for column, cell in cells.items():
                    if isinstance(cell, Score) and not cell.incomplete:
                        published = self.find(table, backbone, dataset, column)
                        if published and others and not column.startswith(CLIP):
                            method = published.method
                            told.setdefault(dataset, []).append(f"{column} {published.value:.1f}")
                        else:
                            cells[column] = replace(cell, published=published)
            rows.append(Row(row.name, cells, row.average))
        remarks = list(table.remarks)
        if told:
            numbers = "; ".join(f"{name} {', '.join(values)}" for name, values in told.items())
            remarks.append(f"{NOT_COMPARED}: {method} with {', '.join(others)}: {numbers}")
        return replace(table, rows=rows, remarks=remarks)

    def _other_settings(self, table: Table, runs: Iterable[Run]) -> list[str]:
        """Return the settings that made the published numbers and that a table's runs lack."""
        wanted = self.settings.get(table.method.split(",")[0], {})
        others = []
        for key, value in wanted.items():
            own = in_order(
                str(flat_of(results["config"]).get(key, "unknown")) for _, results in finished(runs)
            )
            if own != [value]:
                others.append(f"{key} {value} (here {', '.join(own)})")
        return others

    def find(self, table: Table, backbone: str, dataset: str, column: str) -> Published | None:
        """Return the published number for a row and column of a table, or None."""
        config, *changed = table.method.split(",")
        metric, shots = column, table.shots
        if column.split()[0] == "CLIP":
            config, metric, shots = ZERO_SHOT, column.removeprefix("CLIP").strip() or "accuracy", 0
        elif not all(
            change.startswith((*HARMLESS, *self.settings.get(config, ()))) for change in changed
        ):
            return None
        elif shots_of(column):
            metric, shots = "accuracy", shots_of(column)
        # Zero-shot CLIP on all classes of a dataset is the same number in every table.
        kinds = [table.kind]
        if config == ZERO_SHOT and metric == "accuracy":
            kinds += ["cross_dataset", "domain_generalization"] * (dataset != "average")
        configs = self.alike.get(config, [config])
        keys = [(it, kind, backbone, dataset, metric, shots) for it in configs for kind in kinds]
        return next((self.numbers[key] for key in keys if key in self.numbers), None)


def backbone_of(results: dict) -> str | None:
    """Return the backbone of a run if it may be compared with published ones, else None."""
    backbone = results.get("backbone", {})
    name, weights = backbone.get("name"), Path(backbone.get("weights") or "").name
    test = results["config"].get("TEST", {})
    standard = test.get("SPLIT") == "test" and test.get("TEMPLATES") == "coop"
    whole = not results["sampled"] and not results["split"]["note"]
    return name if weights in WEIGHTS.get(name, ()) and standard and whole else None
