"""Shapes, collected a second time."""

from softprompt.core import DATASETS
from softprompt.core.data.generated import GeneratedDataset


@DATASETS.register("shapes_v2")
class ShapesV2(GeneratedDataset):
    """The classes of ``shapes`` as in a second collection of pictures, for testing."""

    domain = "v2"
