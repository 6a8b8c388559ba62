"""ImageNet-A: photographs of 200 of ImageNet's classes that mislead a ResNet-50."""

from softprompt.core import DATASETS
from softprompt.core.data.imagenet import ImageNetFolders


@DATASETS.register("imagenet_a")
class ImageNetA(ImageNetFolders):
    """Natural Adversarial Examples, https://arxiv.org/abs/1907.07174.

    ``ROOT/imagenet-adversarial/imagenet-a/<WordNet id>/*.jpg``.
    """

    folder = "imagenet-adversarial"
    images = "imagenet-a"
    class_count = 200
