"""What several runs of one process share: frozen models, datasets, pictures and features."""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor
from yacs.config import CfgNode

from softprompt.core.base.meter import Meter, Metered
from softprompt.core.base.registry import DATASETS
from softprompt.core.clip.build import configured_clip
from softprompt.core.clip.fast.store import FeatureStore
from softprompt.core.clip.frozen import FrozenCLIP
from softprompt.core.data.dataset import Dataset, Splits, check_splits
from softprompt.core.data.decoding import Decoding
from softprompt.core.data.names import find_file, renamed
from softprompt.core.data.pictures import (
    FileReader,
    JpegReader,
    SizeLimitedCache,
    picture_fingerprint,
)
from softprompt.core.data.transforms import TORCHVISION
from softprompt.core.engine.contracts import CheckedReader, construct


class Pictures(NamedTuple):
    """The pictures of a dataset, by path."""

    read: Callable[[str], Any]  # decode each time
    cached: Callable[[str], Any]  # decode once, as far as memory allows
    content_hash: Callable[[str], str]


class MeteredStore(FeatureStore):
    """A store whose missing features are computed as shared work."""

    def __init__(self, folder: Path | None, limit: float, meter: Meter):
        super().__init__(folder, limit)
        self.meter = meter

    def remembered(self, *arguments: Any, **named: Any) -> Tensor:
        with self.meter.sharing():
            return super().remembered(*arguments, **named)


class Shared:
    """Frozen backbones, datasets and caches to reuse; pass one to every run of a process.

    A frozen CLIP brings what is derived from it, such as prepared weights and the features of
    hand-written sentences. Decoded pictures and the features of test pictures are kept, too. No
    run changes any of this, so its results are those of a process of its own.
    """

    def __init__(self):
        self.meter = Meter()
        self._clips: dict[tuple, FrozenCLIP] = {}
        self._datasets: dict[tuple, tuple[Dataset, Splits]] = {}
        self._pictures: dict[tuple, Pictures] = {}
        self._stores: dict[tuple, FeatureStore] = {}

    def clip(self, cfg: CfgNode) -> FrozenCLIP:
        """Return the frozen CLIP of a configuration."""
        key = cfg.MODEL.dump(), cfg.USE_CUDA
        if key not in self._clips:
            with self.meter.sharing():
                self._clips[key] = configured_clip(cfg)
        return self._clips[key]

    def dataset(
        self, name: str, root: str, options: dict[str, Any], names_file: str = ""
    ) -> tuple[Dataset, Splits]:
        """Return a registered dataset and its splits, whose files are checked once.

        Args:
            root: the folder that holds all datasets.
            names_file: gives other names to the classes; "": they keep the dataset's own.

        Raises:
            UserError: it is not on the disk, or the file does not name its classes.
        """
        cls, folder = DATASETS[name], Path(root).expanduser()
        key = cls, folder, names_file, *sorted(options.items())
        if key not in self._datasets:
            dataset = construct(Dataset, cls, folder, **options)
            if names_file:
                file = find_file(folder, names_file)
                dataset.classnames = renamed(dataset.classnames, file)
            with self.meter.sharing():
                self._datasets[key] = dataset, check_splits(dataset, dataset.splits())
        return self._datasets[key]

    def pictures(
        self, dataset: Dataset, backend: str, memory: float, decoding: Decoding
    ) -> Pictures:
        """Return the readers of a dataset's pictures.

        Args:
            dataset: one that ``dataset()`` returned.
            backend: ``INPUT.BACKEND``, which decodes JPEG files.
            memory: gigabytes of decoded pictures to keep.
            decoding: how the pictures of files become RGB.
        """
        key = id(dataset), backend, memory, decoding
        if key not in self._pictures:
            read: Any = dataset.reader()
            if isinstance(read, FileReader):
                read.decoding = decoding
            if backend == TORCHVISION and type(read) is FileReader:  # no subclass of it
                read = JpegReader(read)
            elif not isinstance(read, FileReader):
                read = CheckedReader(read, dataset)
            cached = SizeLimitedCache(read, memory)
            fingerprint = cache(partial(picture_fingerprint, cached))
            metered = (Metered(each, self.meter) for each in (read, cached, fingerprint))
            self._pictures[key] = Pictures(*metered)
        return self._pictures[key]

    def store(self, folder: str, limit: float) -> FeatureStore:
        """Return the store of unprompted features in ``folder``, or in memory alone if empty.

        Args:
            limit: gigabytes that the folder may take.
        """
        key = folder, limit
        if key not in self._stores:
            place = Path(folder).expanduser() if folder else None
            self._stores[key] = MeteredStore(place, limit, self.meter)
        return self._stores[key]
