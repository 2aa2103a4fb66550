"""What a student reads from its teacher's store in each epoch: one view's plan, logits and features.

A student with mixup share p takes an image from the store's `mixed` group if its rank is below
round(p * N), and from `plain` otherwise; p = 0 and p = 1 read one group only.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import DecantError
from pipeline.distill.params import Sampling, groups_of
from pipeline.results.record import SeenFacts, TeacherFacts, ViewFacts
from pipeline.store.read import Store, ViewGroup
from pipeline.views.batches import EpochData
from pipeline.views.params import MIXED, Augmentation, Group
from pipeline.views.plans import EpochPlan, View, epoch_view, image_views, mixed_rows, plan_of


@dataclass(frozen=True, kw_only=True)
class StoreViews:
    """What the replicates of one student read from a store; for the arguments see `StoredEpochs`."""

    store: Store = field(kw_only=False)
    share: float = field(kw_only=False)
    seed: int
    views: int | None = None
    sampling: Sampling = "epoch"
    features: bool = False

    def of(self, replicate: int) -> "StoredEpochs":
        """The epochs of one replicate."""
        return StoredEpochs(
            self.store,
            self.share,
            replicate=replicate,
            seed=self.seed + replicate,
            views=self.views,
            sampling=self.sampling,
            features=self.features,
        )

    def facts(self) -> dict[str, Any]:
        """Everything that determines them; for the store, the digests of its groups' manifests."""
        choices = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "store"}
        return {**choices, "store": manifest_digests(self.store)}


class StoredEpochs:
    """Epochs of a student from a teacher's store.

    Args:
        store: opened with at least the groups of the share.
        share: fraction of the images that is mixed, in [0, 1].
        replicate: number of the replicate; each starts with another view.
        seed: of `image` sampling.
        views: read the first so many views of each group; None: all.
        features: whether the method needs the teacher's features.

    Raises DecantError if the store lacks what is asked for.
    """

    def __init__(
        self,
        store: Store,
        share: float,
        *,
        replicate: int,
        seed: int,
        views: int | None = None,
        sampling: Sampling = "epoch",
        features: bool = False,
    ) -> None:
        self.groups: dict[Group, ViewGroup] = {name: store.group(name) for name in groups_of(share)}
        self.share, self.replicate, self.seed = share, replicate, seed
        self.sampling: Sampling = sampling
        self.features = features
        self.views = {name: views_read(group, views) for name, group in self.groups.items()}
        for group in self.groups.values():
            if features and group.feature_dim is None:
                raise DecantError(
                    f"{store.folder}/{group.name} holds no features, which this method needs: set "
                    f"features: true in its dump and run `dvc repro`"
                )
        first = next(iter(self.groups.values()))
        if any(_origin(group) != _origin(first) for group in self.groups.values()):
            raise DecantError(
                f"{store.folder}: its plain and mixed views come from different weights, or from "
                f"different padding or flips; run `dvc repro dump@{store.folder.stem}`"
            )
        if features and len({group.feature_dim for group in self.groups.values()}) > 1:
            raise DecantError(
                f"{store.folder}: features of its plain and mixed views are of different widths; run "
                f"`dvc repro dump@{store.folder.stem}`"
            )
        self.count, self.num_classes = first.num_images, first.num_classes
        self.feature_dim = first.feature_dim

    def __call__(self, epoch: int) -> EpochData:
        """Read one epoch: the plan, and the teacher's logits f2 [N, C] (features f2 [N, D])."""
        if len(self.groups) == 1 and self.sampling == "epoch":
            return self._single_view(epoch)
        mixed = self._mixed(epoch)
        plan = EpochPlan.blank(mixed)
        logits = np.empty((self.count, self.num_classes), np.float16)
        features = self._empty_features()
        for name, group in self.groups.items():
            rows = mixed if name == MIXED else ~mixed
            for v, view, chosen in self._views(name, epoch, rows):
                plan.fill(view, chosen)
                logits[chosen] = group.logits(v)[chosen]
                if features is not None:
                    features[chosen] = group.features(v)[chosen]
        return EpochData(plan, logits, features)

    def _single_view(self, epoch: int) -> EpochData:
        ((name, group),) = self.groups.items()
        v = epoch_view(self.views[name], epoch, self.replicate)
        features = group.features(v) if self.features else None
        return EpochData(plan_of(group.plan(v)), group.logits(v), features)

    def _empty_features(self) -> NDArray[np.float16] | None:
        if not self.features or self.feature_dim is None:
            return None
        return np.empty((self.count, self.feature_dim), np.float16)

    def _mixed(self, epoch: int) -> NDArray[np.bool_]:
        """Which images are mixed, by the ranks of the epoch's mixed view (also in `image` sampling)."""
        if MIXED not in self.groups:
            return np.zeros(self.count, np.bool_)
        group = self.groups[MIXED]
        ranks = group.plan(epoch_view(self.views[MIXED], epoch, self.replicate)).mix_rank
        assert ranks is not None
        return mixed_rows(ranks, self.share)

    def _views(
        self, name: Group, epoch: int, rows: NDArray[np.bool_]
    ) -> Iterable[tuple[int, View, NDArray[np.bool_]]]:
        """The views to read for some rows, with their plans and the rows that are taken from each."""
        group, views = self.groups[name], self.views[name]
        if self.sampling == "epoch":
            v = epoch_view(views, epoch, self.replicate)
            yield v, group.plan(v), rows
            return
        view_of = image_views(views, epoch, self.seed, name, self.count)
        for v, view in enumerate(group.plans(range(views))):
            chosen = rows & (view_of == v)
            if chosen.any():
                yield v, view, chosen


def views_read(group: ViewGroup, views: int | None) -> int:
    """How many views of a group a student reads. Raises DecantError if it asks for more than there are."""
    if views is not None and views > group.views:
        raise DecantError(
            f"views: {views} are asked for, but {group.folder / group.name} has {group.views}; raise "
            f"dumps.{group.folder.stem}.{group.name}.views where it is dumped and run `dvc repro` there"
        )
    return group.views if views is None else views


def _origin(group: ViewGroup) -> tuple[tuple[object, ...], Augmentation]:
    """Teacher and augmentation, which plain and mixed views must share for a student to read both."""
    header = group.manifest.header
    assert header.recipe is not None, "views have a recipe"
    # Imported logits carry no digest of weights: then everything known of the teacher must be equal.
    teacher = header.teacher.weights_sha256 or header.teacher, header.teacher.normalisation
    return teacher, header.recipe.augmentation


def manifest_digests(store: Store) -> dict[str, str]:
    """The digest of each opened group's manifest, which covers every byte of the group."""
    return {name: store.group(name).manifest.digest for name in store.groups}


def teacher_facts(
    store: Store, views: int | None = None, seen: SeenFacts | None = None
) -> TeacherFacts:
    """The teacher and the views of a student, for its record; `views` as in `views_read`.

    Raises DecantError where the store tells of a mixup whose alpha is no number.
    """
    manifests = {name: store.group(name).manifest for name in store.groups}
    teacher = next(iter(manifests.values())).header.teacher
    mixup = teacher.training.get("mixup")
    alpha = mixup.get("alpha") if isinstance(mixup, Mapping) else None
    if isinstance(alpha, bool) or not isinstance(alpha, int | float | None):
        raise DecantError(
            f"{store.folder}: states a mixup of its teacher whose alpha is no number (training.mixup.alpha: "
            f"{str(alpha)[:40]!a}); ask whoever made the store to dump or import it again with one"
        )
    view_facts = {}
    for name, manifest in manifests.items():
        recipe = manifest.header.recipe
        assert recipe is not None
        count = views_read(store.group(name), views)
        view_facts[name] = ViewFacts(views=count, draw=recipe.draw, alpha=recipe.alpha)
    return TeacherFacts(
        name=teacher.name,
        network=teacher.network,
        mixup_alpha=alpha,
        weights_sha256=teacher.weights_sha256,
        top1_accuracy=teacher.top1_accuracy,
        store=manifest_digests(store),
        views=view_facts,
        seen=seen,
    )


def store_augmentation(store: Store) -> Augmentation:
    """The padding and flips of a store's views; `StoredEpochs` checks that all groups have the same."""
    return _origin(store.group(store.groups[0]))[1]
