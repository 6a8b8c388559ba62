"""Spherical k-means: cluster unit vectors by cosine."""

from typing import Any

import numpy as np

from softprompt.core.base.errors import UserError

LIBRARIES = ("sklearn", "faiss")
RESTARTS = 3
ROUNDS = 10


def spherical_kmeans(points: np.ndarray, count: int, seed: int, library: str) -> np.ndarray:
    """Return centres ``(count, dim)`` of unit length; fewer if there are fewer points.

    MiniBatchKMeans finds the centres, and exact rounds on the sphere then turn them into means of
    their clusters. faiss trains on a sample of the points and is for millions of them.

    Args:
        points: ``(n, dim)``, of unit length.
        library: "sklearn" or "faiss".

    Raises:
        UserError: another library, or faiss is not installed.
    """
    count = min(count, len(points))
    if library == "faiss":
        return _faiss(points, count, seed)
    if library != "sklearn":
        raise UserError(f"the k-means library is {library!r}, not {' or '.join(LIBRARIES)}")
    from sklearn.cluster import MiniBatchKMeans

    kmeans = MiniBatchKMeans(
        count,
        n_init=RESTARTS,  # type: ignore[arg-type]  # scikit-learn's stub has str
        random_state=seed % 2**32,
        batch_size=max(1024, 8 * count),
    )
    centres = unit(np.asarray(kmeans.fit(points).cluster_centers_).astype(np.float32))
    labels = assign(points, centres)
    for _ in range(ROUNDS):
        before = labels
        sums = np.zeros_like(centres)
        np.add.at(sums, labels, points)
        filled = np.bincount(labels, minlength=count) > 0
        centres[filled] = unit(sums[filled])
        labels = assign(points, centres)
        if (labels == before).all():
            break
    return centres


def _faiss(points: np.ndarray, count: int, seed: int) -> np.ndarray:
    try:
        import faiss
    except ImportError:
        raise UserError(
            'k-means by faiss needs the package faiss-cpu: pip install "softprompt[faiss]"'
        ) from None
    from sklearn.cluster import kmeans_plusplus

    points = np.ascontiguousarray(points, dtype=np.float32)
    best: Any = None
    for restart in range(RESTARTS):
        dice = np.random.default_rng([seed % 2**63, restart])
        some = points[dice.permutation(len(points))[: 64 * count]]
        start, _ = kmeans_plusplus(some, count, random_state=int(dice.integers(2**31)))
        kmeans: Any = faiss.Kmeans(  # its attributes are set by train()
            points.shape[1], count, niter=25, spherical=True, min_points_per_centroid=1
        )
        kmeans.train(points, init_centroids=start)
        if best is None or kmeans.obj[-1] > best.obj[-1]:  # the sum of cosines
            best = kmeans
    return best.centroids.copy()


def assign(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Return the index of the nearest centre of each point, ``(n,)``."""
    chunks = range(0, len(points), 65_536)
    return np.concatenate([(points[i : i + 65_536] @ centres.T).argmax(1) for i in chunks])


def margins(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Return by how much each point's cosine to its centre exceeds the next best, ``(n,)``."""
    if len(centres) == 1:
        return points @ centres[0]
    nearest = np.sort(points @ centres.T, axis=1)
    return nearest[:, -1] - nearest[:, -2]


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return the rows scaled to unit length; rows of zeros stay."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.maximum(lengths, 1e-12)
