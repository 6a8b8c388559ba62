"""FGVC-Aircraft: photographs of a hundred variants of aircraft."""

from pathlib import Path

from softprompt.core import DATASETS, Dataset, Item, UserError
from softprompt.core.data.dataset import SPLITS, Splits, check_files, check_inside, read_lines


@DATASETS.register("fgvc_aircraft")
class FGVCAircraft(Dataset):
    """Fine-Grained Visual Classification of Aircraft, https://arxiv.org/abs/1306.5151.

    ``ROOT/fgvc_aircraft/images/<number>.jpg`` in the official split, which is in ``variants.txt``
    and ``images_variant_{train,val,test}.txt`` beside ``images/``.
    """

    folder = "fgvc_aircraft"
    templates = {
        "coop": "a photo of a {}, a type of aircraft.",
        "prograd": "a type of aircraft, a photo of a {}.",
    }

    def __init__(self, root: str | Path):
        super().__init__(root)
        self.image_dir = self.folder_of(self.folder, "images")
        self.classnames = tuple(read_lines(self.image_dir.parent / "variants.txt"))
        self._splits = {split: self._read(self._file(split)) for split in SPLITS}

    def splits(self) -> Splits:
        for split, items in self._splits.items():
            check_files(self.image_dir, items, self._file(split))
        return self._splits

    def listed(self) -> Splits:
        return self._splits

    def _file(self, split: str) -> Path:
        return self.image_dir.parent / f"images_variant_{split}.txt"

    def _read(self, file: Path) -> list[Item]:
        labels = {name: label for label, name in enumerate(self.classnames)}
        items = []
        for line in read_lines(file):
            number, _, name = line.partition(" ")
            if name not in labels:
                raise UserError(f"{file}: the line {line!r} is not a number and a variant's name")
            items.append(Item(f"{number}.jpg", labels[name]))
        check_inside(self.image_dir, (item.path for item in items), file)
        return items
