"""Published numbers beside those of runs that are the same experiment."""

import csv
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from softprompt.core.base.files import ASSETS
from softprompt.core.engine.results import ZERO_SHOT
from softprompt.core.protocols.report.scores import Published, Score
from softprompt.core.protocols.report.table import Row, Table, shots_of
from softprompt.core.protocols.runs import Run, finished

FILE = ASSETS / "published_results.csv"
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
    """

    def __init__(self, file: Path = FILE):
        self.numbers: dict[tuple, Published] = {}
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
                        cells[column] = replace(cell, published=published)
            rows.append(Row(row.name, cells, row.average))
        return replace(table, rows=rows)

    def find(self, table: Table, backbone: str, dataset: str, column: str) -> Published | None:
        """Return the published number for a row and column of a table, or None."""
        config, *changed = table.method.split(",")
        metric, shots = column, table.shots
        if column.split()[0] == "CLIP":
            config, metric, shots = ZERO_SHOT, column.removeprefix("CLIP").strip() or "accuracy", 0
        elif not all(change.startswith(HARMLESS) for change in changed):
            return None
        elif shots_of(column):
            metric, shots = "accuracy", shots_of(column)
        # Zero-shot CLIP on all classes of a dataset is the same number in every table.
        kinds = [table.kind]
        if config == ZERO_SHOT and metric == "accuracy":
            kinds += ["cross_dataset", "domain_generalization"] * (dataset != "average")
        keys = [(config, kind, backbone, dataset, metric, shots) for kind in kinds]
        return next((self.numbers[key] for key in keys if key in self.numbers), None)


def backbone_of(results: dict) -> str | None:
    """Return the backbone of a run if it may be compared with published ones, else None."""
    backbone = results.get("backbone", {})
    name, weights = backbone.get("name"), Path(backbone.get("weights", "")).name
    test = results["config"].get("TEST", {})
    standard = test.get("SPLIT") == "test" and test.get("TEMPLATES") == "coop"
    whole = not results["sampled"] and not results["split"]["note"]
    return name if weights in WEIGHTS.get(name, ()) and standard and whole else None
