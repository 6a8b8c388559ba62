"""ImageNet: photographs of a thousand kinds of things."""

from softprompt.core import DATASETS
from softprompt.core.base.log import logger
from softprompt.core.data.dataset import Splits
from softprompt.core.data.imagenet import ImageNetFolders
from softprompt.core.data.pictures import list_folders
from softprompt.core.prompts.templates import PHOTO, SELECT


@DATASETS.register("imagenet")
class ImageNet(ImageNetFolders):
    """ImageNet Large Scale Visual Recognition Challenge, https://arxiv.org/abs/1409.0575.

    ``ROOT/imagenet/images/{train,val}/<WordNet id>/*.JPEG``. The official validation pictures are
    both val and test; without train/ the dataset can be evaluated only.
    """

    folder = "imagenet"
    images = "images"
    templates = {"coop": PHOTO, "select": SELECT}

    def name_folders(self, names: dict[str, str]) -> dict[str, str]:
        wnids = set(self.wnids(self.image_dir / "val", names))
        train = self.image_dir / "train"
        if list_folders(train):
            wnids.update(self.wnids(train, names))
        else:
            logger.info(f"no class folders in {train}: nothing to train on")
        return {wnid: names[wnid] for wnid in sorted(wnids)}

    def splits(self) -> Splits:
        val = self.list_items("val")
        return {"train": self.list_items("train"), "val": val, "test": val}
