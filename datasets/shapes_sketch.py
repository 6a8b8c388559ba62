"""Shapes as line drawings."""

from softprompt.core import DATASETS
from softprompt.core.data.generated import GeneratedDataset


@DATASETS.register("shapes_sketch")
class ShapesSketch(GeneratedDataset):
    """The classes of ``shapes`` as sketches, for testing."""

    domain = "sketch"
