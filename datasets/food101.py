"""Food101: photographs of 101 dishes."""

from softprompt.core import DATASETS
from softprompt.core.data.splits import SplitFileDataset


@DATASETS.register("food101")
class Food101(SplitFileDataset):
    """Food-101, ECCV 2014, https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/.

    ``ROOT/food-101/images/<dish>/*.jpg``.
    """

    folder = "food-101"
    images = "images"
    split_file = "split_zhou_Food101.json"
    drive_id = "1QK0tGi096I0Ba6kggatX1ee6dJFIcEJl"
    drawn_sha256 = (
        "c99ec199b1313875fcf746ac0ae04ba933d6c4db1ddc26e6c3bdbbbb54c98bb3",
        "05ded50572b56399cb425ec2471b8e97ddd439257a5a888d9cb8f62c71c8f9f6",
    )
    templates = {
        "coop": "a photo of {}, a type of food.",
        "prograd": "a type of food, a photo of {}.",
    }
