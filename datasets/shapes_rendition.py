"""Shapes as art."""

from softprompt.core import DATASETS
from softprompt.core.data.generated import GeneratedDataset


@DATASETS.register("shapes_rendition")
class ShapesRendition(GeneratedDataset):
    """The classes of ``shapes`` as paintings and cartoons, for testing."""

    domain = "rendition"
