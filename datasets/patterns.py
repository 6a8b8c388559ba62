"""Generated textures, a second family of classes."""

from softprompt.core import DATASETS
from softprompt.core.drawn import DrawnDataset


@DATASETS.register("patterns")
class Patterns(DrawnDataset):
    """Textures such as stripes and dots, classes of another kind than those of ``shapes``."""

    family = "patterns"
