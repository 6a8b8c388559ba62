"""EuroSAT: satellite photographs of ten kinds of land."""

from softprompt.core import DATASETS
from softprompt.core.data.splits import SplitFileDataset


@DATASETS.register("eurosat")
class EuroSAT(SplitFileDataset):
    """EuroSAT, https://arxiv.org/abs/1709.00029.

    ``ROOT/eurosat/2750/<Class>/*.jpg``.
    """

    folder = "eurosat"
    images = "2750"
    split_file = "split_zhou_EuroSAT.json"
    templates = {"coop": "a centered satellite photo of {}."}
