"""Shapes, drawn anew."""

from softprompt.core import DATASETS
from softprompt.core.data.generated import GeneratedDataset


@DATASETS.register("shapes_v2")
class ShapesV2(GeneratedDataset):
    """The classes of ``shapes`` as a second collection would have them, for testing."""

    domain = "v2"
