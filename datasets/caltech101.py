"""Caltech101: photographs of a hundred kinds of objects."""

from softprompt.core import DATASETS
from softprompt.core.data.splits import SplitFileDataset
from softprompt.core.prompts.templates import PHOTO


@DATASETS.register("caltech101")
class Caltech101(SplitFileDataset):
    """Learning Generative Visual Models from Few Examples, https://data.caltech.edu/records/20086.

    ``ROOT/caltech-101/101_ObjectCategories/<class>/*.jpg``. CoOp leaves out two of the folders and
    numbers the others by name, upper case first: face, leopard, motorbike, accordion ...
    """

    folder = "caltech-101"
    images = "101_ObjectCategories"
    split_file = "split_zhou_Caltech101.json"
    templates = {"coop": PHOTO}
