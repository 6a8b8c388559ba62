"""What the runs of one process have in common and make once: frozen models and datasets."""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

from yacs.config import CfgNode

from softprompt.core.base.registry import DATASETS
from softprompt.core.clip.build import configured_clip
from softprompt.core.clip.fast.store import FeatureStore
from softprompt.core.clip.frozen import FrozenCLIP
from softprompt.core.config.options import options_from
from softprompt.core.data.dataset import Dataset, Item
from softprompt.core.data.pictures import (
    FileReader,
    JpegReader,
    SizeLimitedCache,
    picture_fingerprint,
)
from softprompt.core.data.transforms import TORCHVISION


class Pictures(NamedTuple):
    """How the pictures of a dataset are read."""

    read: Callable  # each time anew
    kept: Callable  # once, while there is room
    content: Callable[[str], str]  # a hash of what a path shows


class Shared:
    """Given to each of several runs, it makes the later ones start where the first one got.

    A frozen CLIP brings along what is derived from it: laid out weights and the features of
    hand-written sentences. Decoded pictures and the features of test pictures are kept as well. No
    run changes any of this, so its results are those of a process of its own.
    """

    def __init__(self):
        self._clips: dict[tuple, FrozenCLIP] = {}
        self._datasets: dict[tuple, tuple[Dataset, dict[str, list[Item]]]] = {}
        self._pictures: dict[tuple, Pictures] = {}
        self._stores: dict[tuple, FeatureStore] = {}

    def clip(self, cfg: CfgNode) -> FrozenCLIP:
        """Return the frozen CLIP of a configuration."""
        key = cfg.MODEL.dump(), cfg.USE_CUDA
        if key not in self._clips:
            self._clips[key] = configured_clip(cfg)
        return self._clips[key]

    def dataset(self, cfg: CfgNode) -> tuple[Dataset, dict[str, list[Item]]]:
        """Return the dataset of a configuration and its splits, looked up on the disk once."""
        key = _dataset_key(cfg)
        if key not in self._datasets:
            cls, root, *options = key
            dataset = cls(root, **dict(options))
            self._datasets[key] = dataset, dataset.splits()
        return self._datasets[key]

    def pictures(self, cfg: CfgNode) -> Pictures:
        """Return what reads the pictures of a configuration's dataset."""
        room = cfg.DATALOADER.MEMORY / max(1, cfg.DATALOADER.NUM_WORKERS)
        key = (*_dataset_key(cfg), cfg.INPUT.BACKEND, room)
        if key not in self._pictures:
            read = self.dataset(cfg)[0].reader()
            if cfg.INPUT.BACKEND == TORCHVISION and type(read) is FileReader:
                read = JpegReader(read.folder)
            kept = SizeLimitedCache(read, room)
            self._pictures[key] = Pictures(read, kept, cache(partial(picture_fingerprint, kept)))
        return self._pictures[key]

    def store(self, cfg: CfgNode) -> FeatureStore:
        """Return the store of features without prompts."""
        key = (cfg.CACHE.DIR, cfg.CACHE.LIMIT)
        if key not in self._stores:
            folder = Path(cfg.CACHE.DIR).expanduser() if cfg.CACHE.DIR else None
            self._stores[key] = FeatureStore(folder, cfg.CACHE.LIMIT)
        return self._stores[key]


def _dataset_key(cfg: CfgNode) -> tuple:
    """Class, root and options of a configuration's dataset."""
    cls, root = DATASETS[cfg.DATASET.NAME], Path(cfg.DATASET.ROOT).expanduser()
    return cls, root, *sorted(options_from(cfg, "DATASET").items())
