"""Operations a step, which do not depend on the machine: what a GPU is given to launch."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import torch
from tabulate import tabulate
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from yacs.config import CfgNode

from softprompt.core.base.files import CONFIGS
from softprompt.core.base.plugins import import_built_in
from softprompt.core.base.registry import PROMPT_LEARNERS, TRAINERS
from softprompt.core.clip.build import TINY, build_clip
from softprompt.core.clip.frozen import FrozenCLIP
from softprompt.core.clip.prompted import PromptedCLIP
from softprompt.core.config.load import load_config
from softprompt.core.data.batch import Batch
from softprompt.core.engine.build import build_learner, build_trainer
from softprompt.core.engine.optim import Optim
from softprompt.core.studies.benchmark.cases import class_names
from softprompt.core.studies.benchmark.rows import ROWS

BATCH, LABELS = 4, 3
PATHS = ("gpu", "cpu")  # whose fast paths are counted
READS = ("_local_scalar_dense", "is_nonzero", "equal")
SHAPED_BY_DATA = ("nonzero", "_unique", "unique_", "masked_select", "repeat_interleave")
NOTHING = ("empty", "new_empty", "detach", "alias", "lift_fresh")  # no computing: allocation, names
HEADERS = ("learner", "trainer", "classes", "path", "operations", "views", "host reads", "shapes")


@dataclass
class Counts:
    """What one step asks of a device.

    Attributes:
        operations: those that compute or copy; each is a launch or more.
        views: those that only look at a tensor in another way.
        reads: those that wait for the device to return a number.
        shapes: those whose output's shape depends on data, for which the host waits as well.
    """

    operations: int = 0
    views: int = 0
    reads: int = 0
    shapes: int = 0


class Counter(TorchDispatchMode):
    """Counts the operations of everything within."""

    def __init__(self):
        super().__init__()
        self.counts = Counts()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name, counts = func.overloadpacket.__name__, self.counts
        if func.namespace in ("profiler", "prim") or name.startswith("empty") or name in NOTHING:
            pass
        elif func.is_view or name == "_unsafe_view":
            counts.views += 1
        else:
            counts.operations += 1
            counts.reads += name in READS
            counts.shapes += name.startswith(SHAPED_BY_DATA) or name == "index" and _masks(args[1])
        return func(*args, **(kwargs or {}))


def _masks(indices: Sequence[Tensor | None]) -> bool:
    return any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in indices)


def count_step(cfg: CfgNode, clip: FrozenCLIP, classes: int) -> dict[str, int]:
    """Return the ``Counts`` of a step of the configured learner and trainer, after a first one.

    What the trainer draws before a step is not part of it; teachers' sentences are noise.
    """
    names = class_names(classes)
    noise = torch.randn(classes, clip.dim, device=clip.device)
    teacher: Any = clip
    teacher.class_features = lambda *_, **__: noise
    model = PromptedCLIP(clip, build_learner(cfg, clip, names), names)
    trainer = build_trainer(cfg, model)
    trainer.prepare(Optim.from_config(cfg.OPTIM))
    trainer.start_epoch(0)
    counter = Counter()
    for first in (True, False):
        images = torch.randn(BATCH, 3, *clip.image_size, device=clip.device)
        batch = Batch(images, torch.arange(BATCH, device=clip.device) % LABELS)
        trainer.drawn(batch)
        if first:
            trainer.step(batch)
        else:
            with counter:
                trainer.step(batch)
    return asdict(counter.counts)


def counted_clip(size: str, precision: str, path: str) -> FrozenCLIP:
    """Return a CLIP with random weights that takes the paths of a GPU, or those of a CPU.

    For ``vit_b16`` it has that model's blocks, but they are narrow, which changes no count.
    """
    device = "cuda" if path == "gpu" and torch.cuda.is_available() else "cpu"
    options: dict[str, Any] = {"memory_limit": float("inf"), "launch_bound": path == "gpu"}
    if size == "tiny":
        return build_clip(TINY, "", precision, device, **options)
    import open_clip

    towers: dict[str, Any] = {
        "vision_cfg": {"image_size": 32, "patch_size": 16, "width": 64, "head_width": 32},
        "text_cfg": {"width": 64, "heads": 2},
    }  # of 12 layers each, by default
    model = open_clip.CLIP(32, quick_gelu=True, **towers)
    tokenizer = open_clip.get_tokenizer("ViT-B-16")
    return FrozenCLIP(model, tokenizer, name=size, precision=precision, device=device, **options)


def pairs(methods: Sequence[str], size: str, clip: FrozenCLIP) -> Iterator[CfgNode]:
    """Yield the configurations of some methods of ``ROWS``; of none: of all pairs that train.

    A pair that is not of a method's configuration has the learner's and the trainer's defaults.
    """
    import_built_in()
    for method in methods:
        yield load_config(str(CONFIGS / ROWS[method].method / f"{size}.yaml"))
    if not methods:
        for learner, trainer in product(PROMPT_LEARNERS.names(), TRAINERS.names()):
            names = {"PROMPT.NAME": learner, "TRAINER.NAME": trainer, "DATASET.NAME": "shapes"}
            cfg = load_config(flags=names)
            if any(True for _ in build_learner(cfg, clip, ("dog",)).parameters()):
                yield cfg


def operations_table(counted: dict[str, dict]) -> str:
    """Return the counts as a Markdown table."""
    rows = [[*key.split(), *counts.values()] for key, counts in counted.items()]
    return tabulate(rows, HEADERS, tablefmt="github") + "\n"
