"""Stanford Cars: photographs of 196 models of cars."""

from softprompt.core import DATASETS
from softprompt.core.data.splits import SplitFileDataset
from softprompt.core.prompts.templates import PHOTO


@DATASETS.register("stanford_cars")
class StanfordCars(SplitFileDataset):
    """3D Object Representations for Fine-Grained Categorization, ICCV Workshops 2013.

    https://doi.org/10.1109/ICCVW.2013.77; ``ROOT/stanford_cars/{cars_train,cars_test}/*.jpg``.
    """

    folder = "stanford_cars"
    images = ""  # the split's paths begin with cars_train/ or cars_test/
    split_file = "split_zhou_StanfordCars.json"
    templates = {"coop": PHOTO}
