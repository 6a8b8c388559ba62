"""ImageNet-Sketch: drawings of ImageNet's thousand classes."""

from softprompt.core import DATASETS
from softprompt.core.data.imagenet import ImageNetFolders


@DATASETS.register("imagenet_sketch")
class ImageNetSketch(ImageNetFolders):
    """Learning Robust Global Representations, https://arxiv.org/abs/1905.13549.

    ``ROOT/imagenet-sketch/images/<WordNet id>/*.JPEG``.
    """

    folder = "imagenet-sketch"
    images = "images"
