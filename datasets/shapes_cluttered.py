"""Shapes among clutter."""

from softprompt.core import DATASETS
from softprompt.core.drawn import DrawnDataset


@DATASETS.register("shapes_cluttered")
class ShapesCluttered(DrawnDataset):
    """The classes of ``shapes`` half hidden among other things, for testing."""

    domain = "cluttered"
