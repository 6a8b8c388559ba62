"""Shapes as line drawings."""

from softprompt.core import DATASETS
from softprompt.core.drawn import DrawnDataset


@DATASETS.register("shapes_sketch")
class ShapesSketch(DrawnDataset):
    """The classes of ``shapes`` as sketches, for testing."""

    domain = "sketch"
