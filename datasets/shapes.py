"""Generated objects, the embedded default."""

from softprompt.core import DATASETS
from softprompt.core.drawn import DrawnDataset


@DATASETS.register("shapes")
class Shapes(DrawnDataset):
    """Objects in varied colour, texture, size, pose, clutter and noise; part of the package."""
