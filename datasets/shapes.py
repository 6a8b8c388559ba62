"""Generated objects, the embedded default."""

from softprompt.core import DATASETS
from softprompt.core.data.generated import GeneratedDataset


@DATASETS.register("shapes")
class Shapes(GeneratedDataset):
    """Objects in varied colour, texture, size, pose, clutter and noise; part of the package."""
