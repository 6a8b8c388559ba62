"""The captioned pictures of meta-training with their features and clusters, each computed once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from softprompt.core.base.errors import UserError
from softprompt.core.base.log import logger
from softprompt.core.base.ranges import Count, CountOrZero, Range
from softprompt.core.clip.frozen import FrozenCLIP
from softprompt.core.config.options import options_of
from softprompt.core.data.decoding import Decoding
from softprompt.core.data.transforms import Preprocessing, evaluation_transform
from softprompt.core.meta.clusters.cluster import cluster, clusters_key, log_clusters
from softprompt.core.meta.clusters.encode import Transform
from softprompt.core.meta.clusters.features import PairFeatures, cached_features, hash_of
from softprompt.core.meta.clusters.hierarchy import Hierarchy
from softprompt.core.meta.clusters.overlap import evaluated_names, overlap
from softprompt.core.meta.clusters.page import write_page
from softprompt.core.meta.pairs.base import Pairs
from softprompt.core.meta.pairs.sources import open_pairs
from softprompt.core.meta.tasks import KINDS, TaskSampler

LOGGED = 10  # class names of a dataset in a line of the log


@dataclass(frozen=True)
class Corpus:
    """Captioned pictures, their features and their clusters."""

    pairs: Pairs
    features: PairFeatures
    hierarchy: Hierarchy
    page: Path  # shows the clusters
    workers: int


def open_corpus(
    clip: FrozenCLIP,
    preprocessing: Preprocessing,
    decoding: Decoding,
    clustering: dict[str, Any],
    *,
    source: str = "drawn",
    root: str = "",
    max_skipped: Annotated[float, Range(0, below=1)] = 0.01,
    cache: str = "output/gram",
    batch_size: Count = 100,
    workers: CountOrZero = 0,
) -> Corpus:
    """Open captioned pictures and prepare them for meta-training.

    Args:
        decoding: how their files become RGB.
        clustering: options of ``cluster``.
        source: as for ``open_pairs``: a listing, a folder, shards, or "drawn" for generated ones.
        root: the folder that ``source`` is relative to.
        max_skipped: the share of pairs that may be skipped because they cannot be used.
        cache: the folder of features and clusters.
        batch_size: pictures encoded at once.
        workers: processes that read pictures; 0: the main one does.
    """
    pairs = open_pairs(source, root, max_skipped=max_skipped)
    pairs.decoding = decoding
    return prepare(
        clip,
        pairs,
        evaluation_transform(("normalize",), preprocessing),
        Path(cache).expanduser(),
        batch_size=batch_size,
        workers=workers,
        **clustering,
    )


def prepare(
    clip: FrozenCLIP,
    pairs: Pairs,
    transform: Transform,
    folder: Path,
    *,
    batch_size: Count = 100,
    workers: CountOrZero = 0,
    evaluated: Sequence[str] = (),
    **options: Any,
) -> Corpus:
    """Return pairs with features and clusters, from the cache in ``folder`` as far as it has them.

    Args:
        transform: from a picture to the backbone's input, without randomness.
        folder: the cache; its files are named by the hash of what they were computed from.
        evaluated: the datasets whose class names are searched for among those of the clusters, as
            ``evaluated_names`` takes them.
        options: of ``cluster``.

    Raises:
        UserError: too few pairs, or too many pictures that cannot be read.
    """
    names = evaluated_names(evaluated)
    features = cached_features(
        clip, pairs, transform, folder, batch_size=batch_size, workers=workers
    )
    key = clusters_key(features, {**options_of(cluster), **options})
    file = folder / f"clusters-{key}.json"
    page = folder / f"clusters-{hash_of(key, sorted(names.items()))}.html"
    hierarchy = _cached_clusters(file)
    if hierarchy is None:
        hierarchy = cluster(features, clip, pairs.name, **options)
        hierarchy.save(file)
    log_clusters(hierarchy)
    logger.info(overlap(hierarchy, names, LOGGED))
    if not page.is_file():
        write_page(hierarchy, pairs, features, page, overlap(hierarchy, names))
    logger.info(f"clusters to look at: {page}")
    return Corpus(pairs, features, hierarchy, page, workers)


def _cached_clusters(file: Path) -> Hierarchy | None:
    """Return the clusters of a file, or None if it is missing or, as the log says, damaged."""
    if not file.is_file():
        return None
    try:
        return Hierarchy.load(file)
    except UserError as error:
        logger.warning(f"{error}; the clusters are made again")
        return None


def samplers(
    hierarchy: Hierarchy,
    seed: int,
    *,
    kind: Annotated[str, KINDS] = "clustered",
    same_domain: bool = False,
) -> tuple[TaskSampler, TaskSampler]:
    """Return the samplers of training tasks and of held-out tasks.

    Held-out tasks are always clustered and shift the domain, so that controls are measured as the
    method is.

    Args:
        kind: of the training tasks: "clustered", or the controls "flat" and "random".
        same_domain: a control: support and queries of a training task share their domain.
    """
    return (
        TaskSampler(hierarchy, seed=seed, kind=kind, same_domain=same_domain),
        TaskSampler(hierarchy, seed=seed, held_out=True),
    )
