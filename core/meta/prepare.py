"""From captioned pictures to their features and clusters, each computed once."""

from collections.abc import Callable, Sequence
from pathlib import Path

from softprompt.core.base.log import logger
from softprompt.core.clip.frozen import FrozenCLIP
from softprompt.core.config.load import options_of
from softprompt.core.meta.clusters import cluster, clusters_key, log_clusters
from softprompt.core.meta.features import PairFeatures, cached_features, hash_of
from softprompt.core.meta.hierarchy import Hierarchy
from softprompt.core.meta.overlap import evaluated_names, overlap
from softprompt.core.meta.pairs import Pairs
from softprompt.core.meta.report import write_report

TOLD = 10  # class names of a dataset in a line of the log


def prepare(
    clip: FrozenCLIP,
    pairs: Pairs,
    transform: Callable,
    folder: Path,
    *,
    batch_size: int = 100,
    workers: int = 0,
    evaluated: Sequence[str] = (),
    **options,
) -> tuple[PairFeatures, Hierarchy, Path]:
    """Return features, clusters and the page that shows the clusters, from ``folder`` if there.

    Args:
        transform: from a picture to the backbone's input, without chance.
        folder: the cache; what is in it is known by the hash of its contents.
        evaluated: the datasets whose class names are looked for in the clusters', as
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
    if file.is_file():
        hierarchy = Hierarchy.load(file)
    else:
        hierarchy = cluster(features, clip, pairs.name, **options)
        hierarchy.save(file)
    log_clusters(hierarchy)
    logger.info(overlap(hierarchy, names, TOLD))
    if not page.is_file():
        write_report(hierarchy, pairs, features, page, overlap(hierarchy, names))
    logger.info(f"clusters to look at: {page}")
    return features, hierarchy, page
