"""Recomputing rows of a store with the teacher, to see whether they are what the store claims."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.batches import EpochData, ImageBank, ViewBatches, clean_epoch
from pipeline.inference import LOWER
from pipeline.models.network import Network
from pipeline.predict import clean_bank, predict
from pipeline.prepared import ImageData
from pipeline.store.layout import SPLITS
from pipeline.store.manifest import Manifest
from pipeline.store.read import Store, ViewGroup
from pipeline.views import plan_of

_ROUNDING = 1e-3  # relative: manifests state errors to four digits
_SAMPLED = 1.0  # relative: of a lower precision's error the largest of a sample is known


@dataclass(frozen=True)
class Recomputed:
    """How rows of one group differ from what the teacher says of the same images now.

    Attributes:
        group: its name.
        rows: number of rows compared.
        max_abs_difference, mean_abs_difference: of single logits.
        top1_disagreement: fraction of rows whose largest logit is at another class.
        tolerance: the largest difference that is allowed.
    """

    group: str
    rows: int
    max_abs_difference: float
    mean_abs_difference: float
    top1_disagreement: float
    tolerance: float

    @property
    def good(self) -> bool:
        """Whether no logit is farther off than allowed."""
        return self.max_abs_difference <= self.tolerance


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
        store: belongs to `data`.
        network: the teacher, on the device.
        seed: of the choice of rows.
        tolerance: the largest absolute difference allowed; None: what the manifest states, and with
            a lossy codec what that was measured to cost on top (of views computed in bfloat16 twice
            that: it was measured on a sample). Of `topk` only the logits that are
            kept are compared.
    """
    for name in store.groups:
        rng = np.random.Generator(np.random.Philox(key=[seed, 0]))
        if name == "clean":
            pairs = _clean_pairs(store, network, data, device, rng, rows, batch_size)
            manifest = store.clean.manifest
        else:
            group = store.group(name)
            pairs = _view_pairs(group, network, data, device, rng, rows, batch_size)
            manifest = group.manifest
        allowed = _allowed(manifest) if tolerance is None else tolerance
        yield _compare(name, list(pairs), manifest, allowed)


Pair = tuple[NDArray[np.float16], NDArray[np.float32]]


def _compare(name: str, pairs: list[Pair], manifest: Manifest, allowed: float) -> Recomputed:
    stored = np.concatenate([pair[0] for pair in pairs])
    now = np.concatenate([pair[1] for pair in pairs])
    apart = np.abs(stored.astype(np.float64) - now)
    if manifest.header.codec.top_k is not None:
        # The shared logit of the other classes is no larger than any that is kept.
        apart = apart[stored > stored.min(axis=1, keepdims=True)]
    changed = stored.argmax(axis=1) != now.argmax(axis=1)
    return Recomputed(
        group=name,
        rows=len(stored),
        max_abs_difference=float(apart.max(initial=0)),
        mean_abs_difference=float(apart.mean()) if apart.size else 0.0,
        top1_disagreement=float(changed.mean()),
        tolerance=allowed,
    )


def _allowed(manifest: Manifest) -> float:
    lost = manifest.measured_error.get("max_abs_difference", 0.0)
    lower = manifest.header.precision == LOWER
    if manifest.header.codec.top_k is not None and not lower:
        lost = 0.0
    margin = _SAMPLED if lower else _ROUNDING
    return manifest.header.tolerance + lost * (1 + margin)


def _view_pairs(
    group: ViewGroup,
    network: Network,
    data: ImageData,
    device: torch.device,
    rng: np.random.Generator,
    rows: int,
    batch_size: int,
) -> Iterator[Pair]:
    """Stored and recomputed logits of random rows of random views."""
    recipe = group.manifest.header.recipe
    assert recipe is not None
    bank = ImageBank(data.train.images, data.mean, data.std, recipe.augmentation, device)
    batches = ViewBatches(bank, data.train.labels, network.num_classes)
    places = group.views * group.num_images
    chosen = np.sort(rng.choice(places, size=min(rows, places), replace=False))
    view_of, image_of = np.divmod(chosen, group.num_images)
    for v in np.unique(view_of).tolist():
        images = image_of[view_of == v]
        batches.start(EpochData(plan_of(group.plan(v))))
        now = _logits(network, batches.images, images, batch_size, device)
        yield group.logits(v)[images], now


def _clean_pairs(
    store: Store,
    network: Network,
    data: ImageData,
    device: torch.device,
    rng: np.random.Generator,
    rows: int,
    batch_size: int,
) -> Iterator[Pair]:
    """Stored and recomputed logits of random images of both splits, half of the rows each."""
    for name in SPLITS:
        split = data.train if name == "train" else data.test
        bank = clean_bank(split.images, data.mean, data.std, device)
        batches = ViewBatches(bank, split.labels, network.num_classes)
        batches.start(clean_epoch(bank.count, bank.pad))
        size = min(-(-rows // 2), bank.count)
        images = np.sort(rng.choice(bank.count, size=size, replace=False))
        now = _logits(network, batches.images, images, batch_size, device)
        yield store.clean.logits(name)[images], now


def _logits(
    network: Network,
    images_of: Callable[[Tensor], Tensor],
    images: NDArray[np.int64],
    batch_size: int,
    device: torch.device,
) -> NDArray[np.float32]:
    chosen = torch.from_numpy(images).to(device)
    logits, _ = predict(
        network, lambda rows: images_of(chosen[rows]), len(images), batch_size, device
    )
    return logits
