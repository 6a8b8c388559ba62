"""The captioned pictures of meta-training, and the tasks that are drawn from their clusters."""

from dataclasses import dataclass
from pathlib import Path

from softprompt.core.clip.frozen import FrozenCLIP
from softprompt.core.data.transforms import Preprocessing, evaluation_transform
from softprompt.core.meta.features import PairFeatures
from softprompt.core.meta.hierarchy import Hierarchy
from softprompt.core.meta.pairs import Pairs
from softprompt.core.meta.prepare import prepare
from softprompt.core.meta.sources import open_pairs
from softprompt.core.meta.tasks import TaskSampler


@dataclass(frozen=True)
class Corpus:
    pairs: Pairs
    features: PairFeatures
    hierarchy: Hierarchy
    page: Path  # that shows the clusters
    workers: int


def open_corpus(
    clip: FrozenCLIP,
    preprocessing: Preprocessing,
    clustering: dict,
    *,
    source: str = "drawn",
    root: str = "",
    max_skipped: float = 0.01,
    cache: str = "output/gram",
    batch_size: int = 100,
    workers: int = 0,
) -> Corpus:
    """Return captioned pictures with features and clusters, which are computed once.

    Args:
        clustering: options of ``cluster``.
        source: what ``open_pairs`` takes: a listing, a folder, shards, or "drawn" ones.
        root: the folder that ``source`` is relative to.
        max_skipped: the share of pairs that may be skipped because they cannot be used.
        cache: the folder of what has been computed.
        batch_size: pictures encoded at once.
        workers: processes that read pictures; 0: the main one does.
    """
    pairs = open_pairs(source, root, max_skipped=max_skipped)
    features, hierarchy, page = prepare(
        clip,
        pairs,
        evaluation_transform(("normalize",), preprocessing),
        Path(cache).expanduser(),
        batch_size=batch_size,
        workers=workers,
        **clustering,
    )
    return Corpus(pairs, features, hierarchy, page, workers)


def samplers(
    hierarchy: Hierarchy, seed: int, *, kind: str = "clustered", same_domain: bool = False
) -> tuple[TaskSampler, TaskSampler]:
    """Return the samplers of training and of held-out tasks.

    Held-out tasks are always clustered and shift the domain, so that controls are measured as the
    method is.

    Args:
        kind: of the training tasks: "clustered", or the controls "flat" and "random".
        same_domain: a control: support and queries of a training task share their domain.
    """
    sizes = hierarchy.sizes
    numbers = {"ways": sizes.ways, "shots": sizes.shots, "queries": sizes.queries, "seed": seed}
    return (
        TaskSampler(hierarchy, **numbers, tasks=kind, same_domain=same_domain),
        TaskSampler(hierarchy, **numbers, held_out=True),
    )
