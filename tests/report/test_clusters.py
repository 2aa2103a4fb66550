import math

import numpy as np
import pytest
from sklearn.cluster import KMeans

from pipeline.evaluation.clusters import tsne_embedding, v_score

CLASSES, PER_CLASS, WIDTH = 5, 60, 16
SETTINGS = {"normalise": False, "seed": 0, "n_init": 10}


def blobs(distance: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features f4 [300, 16] of 5 classes (numbers 3, 10, ...), round centres that far apart."""
    generator = np.random.default_rng(seed)
    centres = distance * generator.standard_normal((CLASSES, WIDTH))
    numbers = np.repeat(np.arange(CLASSES), PER_CLASS)
    noise = generator.standard_normal((len(numbers), WIDTH))
    return (centres[numbers] + noise).astype(np.float32), (3 + 7 * numbers).astype(np.int32)


def entropy(counts: list[int]) -> float:
    total = sum(counts)
    return -sum(c / total * math.log(c / total) for c in counts if c)


def slow_scores(labels: list[int], clusters: list[int]) -> tuple[float, float, float]:
    """From the contingency table: h = 1 - H(C|K)/H(C), c = 1 - H(K|C)/H(K), v = 2hc/(h+c)."""
    table = {
        (label, cluster): sum(
            1 for a, b in zip(labels, clusters, strict=True) if (a, b) == (label, cluster)
        )
        for label in set(labels)
        for cluster in set(clusters)
    }
    rows = {a: [n for (x, _), n in table.items() if x == a] for a in set(labels)}
    columns = {b: [n for (_, y), n in table.items() if y == b] for b in set(clusters)}
    of_classes = entropy([sum(row) for row in rows.values()])
    of_clusters = entropy([sum(column) for column in columns.values()])
    total = len(labels)
    classes_given = sum(sum(column) / total * entropy(column) for column in columns.values())
    clusters_given = sum(sum(row) / total * entropy(row) for row in rows.values())
    homogeneity = 1 - classes_given / of_classes
    completeness = 1 - clusters_given / of_clusters
    v = 2 * homogeneity * completeness / (homogeneity + completeness)
    return homogeneity, completeness, v


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("distance", [0.4, 0.7, 1.5])
def test_equals_contingency_table_and_entropies(distance, normalise):
    features, labels = blobs(distance)
    found = v_score(features, labels, normalise=normalise, seed=3, n_init=10)
    points = features.astype(np.float64)
    order = sorted(range(len(points)), key=lambda i: points[i].tobytes())
    if normalise:
        points /= np.linalg.norm(points, axis=1, keepdims=True)
    clusters = KMeans(CLASSES, n_init=10, random_state=3).fit(points[order]).labels_
    expected = slow_scores(labels[order].tolist(), clusters.tolist())
    measures = (found.homogeneity, found.completeness, found.v_score)
    assert measures == pytest.approx(expected, abs=1e-9)
    assert 0.05 < found.v_score <= 1


def test_separated_clusters_score_one():
    features, labels = blobs(50)
    found = v_score(features, labels, **SETTINGS)
    assert (found.homogeneity, found.completeness, found.v_score) == pytest.approx((1, 1, 1))


def test_shuffled_labels_score_about_zero():
    features, labels = blobs(50)
    shuffled = np.random.default_rng(1).permutation(labels)
    assert v_score(features, shuffled, **SETTINGS).v_score < 0.05


def test_order_of_the_images_does_not_matter():
    features, labels = blobs(0.5)
    features[:40] = 0  # equal rows of one class and, below, of another
    features[100:120] = -0.0
    expected = v_score(features, labels, **SETTINGS)
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(labels))
        assert v_score(features[order], labels[order], **SETTINGS) == expected


def test_names_of_the_classes_do_not_matter():
    features, labels = blobs(0.5)
    renamed = np.array([4, 1, 3, 0, 2])[(labels - 3) // 7]
    expected = v_score(features, labels, **SETTINGS)
    assert v_score(features, renamed, **SETTINGS).v_score == pytest.approx(expected.v_score)


def test_normalised_features_ignore_their_length():
    features, labels = blobs(3)
    lengths = np.random.default_rng(2).uniform(0.1, 30, (len(labels), 1))
    settings = {**SETTINGS, "normalise": True}
    expected = v_score(features, labels, **settings).v_score
    assert v_score(lengths * features, labels, **settings).v_score == pytest.approx(expected)
    assert v_score(lengths * features, labels, **SETTINGS).v_score < expected - 0.05


def test_half_precision_features_are_widened():
    features, labels = blobs(0.8)
    half = features.astype(np.float16)
    expected = v_score(half.astype(np.float64), labels, **SETTINGS)
    assert v_score(half, labels, **SETTINGS) == expected


@pytest.mark.parametrize("normalise", [False, True])
def test_collapsed_features_score_zero(normalise):
    labels = np.repeat([0, 1, 2], 10)
    found = v_score(np.zeros((30, 4)), labels, normalise=normalise, seed=0, n_init=10)
    assert (found.homogeneity, found.completeness, found.v_score) == (0, 1, 0)


def test_meaningless_input_is_refused():
    features, labels = blobs(1)
    with pytest.raises(ValueError, match="2 classes or more, found 1"):
        v_score(features[:10], labels[:10], **SETTINGS)
    with pytest.raises(ValueError, match=r"found \(300, 16\) and \(299,\)"):
        v_score(features, labels[1:], **SETTINGS)
    features[5, 5] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite"):
        v_score(features, labels, **SETTINGS)


def test_embedding_is_repeatable_and_keeps_clusters_apart():
    features, labels = blobs(20)
    found = tsne_embedding(features, perplexity=30, seed=0)
    assert found.shape == (len(labels), 2)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(tsne_embedding(features, perplexity=30, seed=0), found)
    assert v_score(found, labels, **SETTINGS).v_score == pytest.approx(1)


def test_embedding_of_few_images():
    features, _ = blobs(1)
    assert np.isfinite(tsne_embedding(features[:4], perplexity=30, seed=0)).all()
    with pytest.raises(ValueError, match="4 images or more, found 3"):
        tsne_embedding(features[:3], perplexity=30, seed=0)
