"""EuroSAT: satellite photographs of ten kinds of land."""

from softprompt.core import DATASETS, Dataset, Item
from softprompt.core.dataset import check_files
from softprompt.core.splits import read_split


@DATASETS.register("eurosat")
class EuroSAT(Dataset):
    """EuroSAT, https://arxiv.org/abs/1709.00029, in CoOp's layout and split.

    ``ROOT/eurosat/2750/<Class>/*.jpg`` and ``ROOT/eurosat/split_zhou_EuroSAT.json``.
    """

    templates = {"coop": "a centered satellite photo of {}."}

    def __init__(self, root):
        super().__init__(root)
        folder = self.root / "eurosat"
        self.image_dir = folder / "2750"
        self.split_file = folder / "split_zhou_EuroSAT.json"
        self.classnames, self._splits = read_split(self.split_file)

    def splits(self) -> dict[str, list[Item]]:
        check_files(self.image_dir, self._splits, str(self.split_file))
        return self._splits
