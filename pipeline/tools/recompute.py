"""Recomputing rows of a store with the teacher, to see whether they are what the store claims.

What a store states of itself only ever narrows what is allowed: its maker may be the one who lies.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.core.dataset import ImageData
from pipeline.dump.ready import LOWER
from pipeline.models.network import Network
from pipeline.store.format.layout import SPLITS
from pipeline.store.format.lossy import largest_errors, shared_logit
from pipeline.store.format.manifest import TF32_TOLERANCE, Header, Manifest
from pipeline.store.read import Store, ViewGroup
from pipeline.views.batches import EpochData, ImageBank, ViewBatches, clean_epoch
from pipeline.views.params import CLEAN
from pipeline.views.plans import plan_of
from pipeline.views.predict import clean_bank, predict

# Of views computed in less than float32 (or elsewhere, by who knows what): how far a number may be
# off at most, as a part of the deviation of all of them; and how much more than what was measured on
# a sample. bfloat16 costs a resnet20 for CIFAR-100 0.2 % of it in the mean and 2 % at worst.
_LOWER_SHARE, _SAMPLED = 0.25, 2.0

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Recomputed:
    """How rows of one group differ from what the teacher says of the same images now.

    Attributes:
        group: its name.
        rows: number of rows compared.
        max_abs_difference, mean_abs_difference: of single logits; of `topk` from what its definition
            makes of the teacher's.
        top1_disagreement: fraction of rows whose largest logit is at another class.
        features_max_abs_difference: of single features; None where the group holds none.
        tolerance: the largest difference of a logit that is allowed in any row.
        good: whether no logit and no feature is farther off than allowed.
    """

    group: str
    rows: int
    max_abs_difference: float
    mean_abs_difference: float
    top1_disagreement: float
    features_max_abs_difference: float | None
    tolerance: float
    good: bool


@dataclass(frozen=True)
class _Rows:
    """Stored rows beside recomputed ones: logits [n, C], features [n, D] (None: none are stored)."""

    logits: NDArray[np.float16]
    features: NDArray[np.float16] | None
    logits_now: NDArray[np.float32]
    features_now: NDArray[np.float32]


def recompute(
    store: Store,
    network: Network,
    data: ImageData,
    device: torch.device,
    *,
    rows: int,
    seed: int,
    batch_size: int,
    tolerance: float | None = None,
) -> Iterator[Recomputed]:
    """Compare `rows` random rows of every opened group with a new forward pass.

    Args:
        store: belongs to `data`; the teacher sees the images under its own normalisation, where it has
            one.
        network: the teacher, on the device.
        seed: of the choice of rows; one that the store's maker could not know.
        tolerance: the largest absolute difference allowed of logits and features. None: what the
            manifest states, but no more than a GPU's arithmetic explains (`TF32_TOLERANCE`), and on
            top what the codec can cost at most; of views that were not computed in float32 what
            that was measured to cost twice over, a quarter of the numbers' deviation at most.
    """
    for name in store.groups:
        rng = np.random.Generator(np.random.Philox(key=[seed, 0]))
        if name == CLEAN:
            recomputed = list(_clean_rows(store, network, data, device, rng, rows, batch_size))
            manifest = store.clean.manifest
        else:
            group = store.group(name)
            recomputed = list(_view_rows(group, network, data, device, rng, rows, batch_size))
            manifest = group.manifest
        yield _compare(manifest, recomputed, tolerance)


def _compare(manifest: Manifest, recomputed: list[_Rows], tolerance: float | None) -> Recomputed:
    header = manifest.header
    stated = manifest.measured_error.get("max_abs_difference", math.inf)
    stored, now = (
        _joined([rows.logits for rows in recomputed]),
        _joined([r.logits_now for r in recomputed]),
    )
    if tolerance is not None:
        allowed = np.full_like(now, tolerance)
    else:
        allowed = _tolerance(header, now, stated) + largest_errors(header.codec, now)
        allowed += _rounding(now)
    apart = np.abs(stored - now)
    if header.codec.top_k is not None:
        apart, margins = _of_top(header.codec.top_k, stored, now, allowed)
        allowed = margins if tolerance is None else allowed
    max_features, features_good = None, True
    features = [rows.features for rows in recomputed if rows.features is not None]
    if features:
        features_now = _joined([rows.features_now for rows in recomputed])
        features_apart = np.abs(_joined(features) - features_now)
        max_features = float(features_apart.max())
        margin = _tolerance(header, features_now, math.inf) + _rounding(features_now)
        margin = margin if tolerance is None else np.full_like(margin, tolerance)
        features_good = bool((features_apart <= margin).all())
    return Recomputed(
        group=header.group,
        rows=len(stored),
        max_abs_difference=float(apart.max()),
        mean_abs_difference=float(apart.mean()),
        top1_disagreement=float((stored.argmax(axis=1) != now.argmax(axis=1)).mean()),
        features_max_abs_difference=max_features,
        tolerance=float(allowed.max()),
        good=features_good and bool((apart <= allowed).all()),
    )


def _joined(parts: list[NDArray[np.float16]] | list[NDArray[np.float32]]) -> Array:
    return np.concatenate(parts).astype(np.float64)


def _tolerance(header: Header, now: Array, stated: float) -> float:
    """How far off a number may be before any codec; `stated` is the error that was measured."""
    allowed = min(header.tolerance, TF32_TOLERANCE)
    if header.precision == LOWER or (header.lossy and not header.codec.lossy):
        allowed += min(_SAMPLED * stated, _LOWER_SHARE * float(now.std()))
    return allowed


def _of_top(k: int, stored: Array, now: Array, allowed: Array) -> tuple[Array, Array]:
    """How far off `topk` is, and how far each logit may be: both f8 [n, C], the k largest first.

    The other classes hold their shared logit, and none of them may belong among the k.
    """
    # Not those above the shared logit: a row that says one thing of all classes has none.
    order = np.argsort(-stored, axis=1, kind="stable")
    stored, now, allowed = (
        np.take_along_axis(numbers, order, axis=1) for numbers in (stored, now, allowed)
    )
    others = now[:, k:]
    shared = shared_logit(others)
    # It rises with each of the others, so what they may be bounds what it may be.
    margin = np.maximum(
        shared_logit(others + allowed[:, k:]) - shared,
        shared - shared_logit(others - allowed[:, k:]),
    )
    margin = np.minimum(margin, allowed.max(axis=1, keepdims=True)) + _rounding(shared)
    missed = others - stored[:, k - 1 : k] > allowed[:, k:]
    expected = np.hstack([now[:, :k], np.where(missed, others, shared)])
    margins = np.hstack([allowed[:, :k], np.where(missed, allowed[:, k:], margin)])
    return np.abs(stored - expected), margins


def _rounding(numbers: Array) -> Array:
    """Of float16, beyond what `TOLERANCE` has room for: that of numbers below 32."""
    return np.where(np.abs(numbers) < 32, 0, np.abs(numbers) * 2.0**-11)


def _view_rows(
    group: ViewGroup,
    network: Network,
    data: ImageData,
    device: torch.device,
    rng: np.random.Generator,
    rows: int,
    batch_size: int,
) -> Iterator[_Rows]:
    """Stored and recomputed numbers of random rows of random views."""
    recipe = group.manifest.header.recipe
    assert recipe is not None
    data = data.normalised(group.manifest.header.teacher.normalisation)
    bank = ImageBank(data.train.images, data.mean, data.std, recipe.augmentation, device)
    batches = ViewBatches(bank, data.train.labels, network.num_classes)
    places = group.views * group.num_images
    has_features = group.manifest.feature_dim is not None
    chosen = np.sort(rng.choice(places, size=min(rows, places), replace=False))
    view_of, image_of = np.divmod(chosen, group.num_images)
    for v in np.unique(view_of).tolist():
        images = image_of[view_of == v]
        batches.start(EpochData(plan_of(group.plan(v))))
        now = _answers(network, batches.images, images, batch_size, device)
        features = group.features(v)[images] if has_features else None
        yield _Rows(group.logits(v)[images], features, *now)


def _clean_rows(
    store: Store,
    network: Network,
    data: ImageData,
    device: torch.device,
    rng: np.random.Generator,
    rows: int,
    batch_size: int,
) -> Iterator[_Rows]:
    """Stored and recomputed numbers of random images of both splits, half of the rows each."""
    has_features = store.clean.manifest.feature_dim is not None
    data = data.normalised(store.clean.manifest.header.teacher.normalisation)
    for name in SPLITS:
        split = data.train if name == "train" else data.test
        bank = clean_bank(split.images, data.mean, data.std, device)
        batches = ViewBatches(bank, split.labels, network.num_classes)
        batches.start(clean_epoch(bank.count, bank.pad))
        size = min(-(-rows // 2), bank.count)
        images = np.sort(rng.choice(bank.count, size=size, replace=False))
        now = _answers(network, batches.images, images, batch_size, device)
        features = store.clean.features(name)[images] if has_features else None
        yield _Rows(store.clean.logits(name)[images], features, *now)


def _answers(
    network: Network,
    images_of: Callable[[Tensor], Tensor],
    images: NDArray[np.int64],
    batch_size: int,
    device: torch.device,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Logits and features of the given images."""
    chosen = torch.from_numpy(images).to(device)
    return predict(network, lambda rows: images_of(chosen[rows]), len(images), batch_size, device)
