"""ImageNetV2: ImageNet's thousand classes, photographed anew."""

from softprompt.core import DATASETS, UserError
from softprompt.core.data.imagenet import ImageNetFolders
from softprompt.core.data.pictures import list_folders


@DATASETS.register("imagenetv2")
class ImageNetV2(ImageNetFolders):
    """Do ImageNet Classifiers Generalize to ImageNet?, https://arxiv.org/abs/1902.10811.

    ``ROOT/imagenetv2/imagenetv2-matched-frequency-format-val/<label>/*.jpeg``; a folder is named by
    its label, the line of ``classnames.txt`` counted from 0.
    """

    folder = "imagenetv2"
    images = "imagenetv2-matched-frequency-format-val"

    def name_folders(self, names: dict[str, str]) -> dict[str, str]:
        by_label = {str(label): name for label, name in enumerate(names.values())}
        differing = by_label.keys() ^ list_folders(self.image_dir)
        if differing:
            raise UserError(
                f"{self.image_dir} should have the folders 0 to {len(names) - 1} and no other, but "
                f"{len(differing)} are missing or are others, such as {min(differing)}"
            )
        return by_label
