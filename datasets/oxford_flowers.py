"""Oxford Flowers: photographs of 102 kinds of flowers."""

from softprompt.core import DATASETS
from softprompt.core.data.splits import SplitFileDataset


@DATASETS.register("oxford_flowers")
class OxfordFlowers(SplitFileDataset):
    """Automated Flower Classification, https://www.robots.ox.ac.uk/~vgg/data/flowers/102/.

    ``ROOT/oxford_flowers/jpg/image_<number>.jpg``. CoOp's split is not the official one.
    """

    folder = "oxford_flowers"
    images = "jpg"
    split_file = "split_zhou_OxfordFlowers.json"
    templates = {
        "coop": "a photo of a {}, a type of flower.",
        "prograd": "a type of flower, a photo of a {}.",
    }
