"""Generated textures, a second family of classes."""

from softprompt.core import DATASETS
from softprompt.core.data.generated import GeneratedDataset


@DATASETS.register("patterns")
class Patterns(GeneratedDataset):
    """Textures such as stripes and dots, classes of another kind than those of ``shapes``."""

    family = "patterns"
