"""DTD: photographs of 47 textures."""

from softprompt.core import DATASETS
from softprompt.core.data.splits import SplitFileDataset


@DATASETS.register("dtd")
class DescribableTextures(SplitFileDataset):
    """Describing Textures in the Wild, https://arxiv.org/abs/1311.3618.

    ``ROOT/dtd/images/<texture>/*.jpg``. CoOp's split is none of the official folds.
    """

    folder = "dtd"
    images = "images"
    split_file = "split_zhou_DescribableTextures.json"
    templates = {
        "coop": "{} texture.",
        "kgcoop": "a photo of a {}, a type of texture.",
        "prograd": "a texture of {}.",
    }
