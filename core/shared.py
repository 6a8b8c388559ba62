"""What the runs of one process have in common and make once: frozen models and datasets."""

from pathlib import Path

from yacs.config import CfgNode

from softprompt.core.backbone import configured_clip
from softprompt.core.clip import FrozenCLIP
from softprompt.core.config import options_from
from softprompt.core.dataset import Dataset, Item
from softprompt.core.registry import DATASETS


class Shared:
    """Given to each of several runs, it makes the later ones start where the first one got.

    A frozen CLIP brings along what is derived from it: laid out weights and the features of
    hand-written sentences. No run changes any of this, so its results are those of a process of
    its own.
    """

    def __init__(self):
        self._clips: dict[tuple, FrozenCLIP] = {}
        self._datasets: dict[tuple, tuple[Dataset, dict[str, list[Item]]]] = {}

    def clip(self, cfg: CfgNode) -> FrozenCLIP:
        """Return the frozen CLIP of a configuration."""
        key = cfg.MODEL.dump(), cfg.USE_CUDA
        if key not in self._clips:
            self._clips[key] = configured_clip(cfg)
        return self._clips[key]

    def dataset(self, cfg: CfgNode) -> tuple[Dataset, dict[str, list[Item]]]:
        """Return the dataset of a configuration and its splits, looked up on the disk once."""
        cls, root = DATASETS[cfg.DATASET.NAME], Path(cfg.DATASET.ROOT).expanduser()
        options = options_from(cfg, "DATASET")
        key = (cls, root, *sorted(options.items()))
        if key not in self._datasets:
            dataset = cls(root, **options)
            self._datasets[key] = dataset, dataset.splits()
        return self._datasets[key]
