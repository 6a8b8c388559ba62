"""Shapes among clutter."""

from softprompt.core import DATASETS
from softprompt.core.data.generated import GeneratedDataset


@DATASETS.register("shapes_cluttered")
class ShapesCluttered(GeneratedDataset):
    """The classes of ``shapes`` half hidden among other objects, for testing."""

    domain = "cluttered"
