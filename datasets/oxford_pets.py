"""Oxford-IIIT Pets: photographs of 37 breeds of cats and dogs."""

from softprompt.core import DATASETS
from softprompt.core.data.splits import SplitFileDataset


@DATASETS.register("oxford_pets")
class OxfordPets(SplitFileDataset):
    """Cats and Dogs, https://www.robots.ox.ac.uk/~vgg/data/pets/.

    ``ROOT/oxford_pets/images/<breed>_<number>.jpg``.
    """

    folder = "oxford_pets"
    images = "images"
    split_file = "split_zhou_OxfordPets.json"
    templates = {
        "coop": "a photo of a {}, a type of pet.",
        "prograd": "a type of pet, a photo of a {}.",
    }
