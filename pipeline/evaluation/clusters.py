"""How well penultimate features fall into the clusters that the classes are: V-scores and t-SNE.

The paper names no clustering; k-means with as many clusters as there are classes is our choice.
Both functions run on one thread, where sums have one order, and are functions of their arguments
alone.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.manifold import TSNE
from sklearn.metrics import homogeneity_completeness_v_measure
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from pipeline.evaluation.remembered import remembered


@dataclass(frozen=True)
class VScore:
    """Fractions in [0, 1]: is a cluster one class, is a class one cluster, and both.

    `v_score` is the harmonic mean of the other two.
    """

    homogeneity: float
    completeness: float
    v_score: float


def v_score(
    features: NDArray[Any], labels: NDArray[Any], *, normalise: bool, seed: int, n_init: int
) -> VScore:
    """V-score between true classes and the k-means clusters of features, k the number of classes.

    features: [n, D], labels: integers [n]; the classes are those that occur. With `normalise`,
    each image's features are divided by their L2 norm first. k-means (k-means++, `n_init` starts,
    the seed given) sees the images in an order of its own, so that theirs does not matter. Raises
    ValueError with fewer than 2 classes, or features that are not finite.

    Rosenberg and Hirschberg, "V-Measure", EMNLP 2007, with beta 1; scikit-learn's implementation.
    """
    return VScore(
        *_v_score(features, labels, normalise=normalise, seed=seed, n_init=n_init).tolist()
    )


@remembered(version=1)
def _v_score(
    features: NDArray[Any], labels: NDArray[Any], *, normalise: bool, seed: int, n_init: int
) -> NDArray[np.float64]:
    """`v_score` as an array f8 [3]."""
    points = _points(features, labels)
    classes = len(np.unique(labels))
    if classes < 2:
        raise ValueError(f"a V-score needs images of 2 classes or more, found {classes}")
    order = np.argsort(_row_bytes(points), kind="stable")
    points, labels = points[order], labels[order]
    if normalise:
        norms = np.linalg.norm(points, axis=1, keepdims=True)
        points = points / np.where(norms == 0, 1, norms)
    # Fewer different points than classes cannot be parted further (k-means would only warn).
    clusters = min(classes, len(np.unique(_row_bytes(points))))
    with threadpool_limits(1):
        assigned = KMeans(clusters, n_init=n_init, random_state=seed).fit_predict(points)
    return np.array(homogeneity_completeness_v_measure(labels, assigned), np.float64)


@remembered(version=1)
def tsne_embedding(features: NDArray[Any], *, perplexity: float, seed: int) -> NDArray[np.float32]:
    """Two-dimensional t-SNE embedding f4 [n, 2] of features [n, D], started from their PCA.

    Among few images the perplexity is lowered to (n - 1) / 3. Raises ValueError with fewer than 4
    images, or features that are not finite.

    van der Maaten and Hinton, "Visualizing Data using t-SNE", JMLR 2008; scikit-learn's Barnes-Hut.
    """
    points = _points(features, np.zeros(len(features), np.int64)).astype(np.float32)
    if len(points) < 4:
        raise ValueError(f"t-SNE needs 4 images or more, found {len(points)}")
    lowered = min(perplexity, (len(points) - 1) / 3)
    with threadpool_limits(1):
        tsne = TSNE(2, perplexity=lowered, init="pca", learning_rate="auto", random_state=seed)
        embedding: NDArray[np.float32] = tsne.fit_transform(points).astype(np.float32)
    return embedding


def _points(features: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.float64]:
    if features.ndim != 2 or labels.shape != features.shape[:1]:
        raise ValueError(
            f"expected features [n, D] and labels [n], found {features.shape} and {labels.shape}"
        )
    points = features.astype(np.float64)
    if not np.isfinite(points).all():
        raise ValueError("features hold NaN or infinite values")
    return points


def _row_bytes(points: NDArray[np.float64]) -> NDArray[np.void]:
    """Each row as one value that can be sorted, by its bytes: an order that is the rows' own."""
    rows = np.ascontiguousarray(points + 0.0)  # turns -0.0 into 0.0
    return rows.view(f"V{rows.itemsize * rows.shape[1]}")[:, 0]
