"""ImageNet-R: paintings, toys and other renditions of 200 of ImageNet's classes."""

from softprompt.core import DATASETS
from softprompt.core.data.imagenet import ImageNetFolders


@DATASETS.register("imagenet_r")
class ImageNetR(ImageNetFolders):
    """The Many Faces of Robustness, https://arxiv.org/abs/2006.16241.

    ``ROOT/imagenet-rendition/imagenet-r/<WordNet id>/*.jpg``.
    """

    folder = "imagenet-rendition"
    images = "imagenet-r"
    class_count = 200
