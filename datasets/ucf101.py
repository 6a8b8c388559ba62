"""UCF101: the middle frames of videos of 101 human actions."""

from softprompt.core import DATASETS
from softprompt.core.data.splits import SplitFileDataset


@DATASETS.register("ucf101")
class UCF101(SplitFileDataset):
    """UCF101, https://arxiv.org/abs/1212.0402.

    ``ROOT/ucf101/UCF-101-midframes/<Action>/*.jpg``.
    """

    folder = "ucf101"
    images = "UCF-101-midframes"
    split_file = "split_zhou_UCF101.json"
    templates = {"coop": "a photo of a person doing {}."}
