"""Shapes as art."""

from softprompt.core import DATASETS
from softprompt.core.drawn import DrawnDataset


@DATASETS.register("shapes_rendition")
class ShapesRendition(DrawnDataset):
    """The classes of ``shapes`` as paintings and cartoons, for testing."""

    domain = "rendition"
