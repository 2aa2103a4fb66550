"""Plans of views: for every training image its crop, its flip and, under mixup, its partner and weight.

A view is one augmented copy of the training set, and its plan is a few arrays that can be stored. A store's
plans are drawn here once, when the store is made, and are stored beside the teacher's logits. A student
reads them and never draws them again, so no numpy version, batch size, order or device can change its images.

Pixels are the business of `batches`, files that of `pipeline.store`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.core.params import Seed, checked
from pipeline.views.params import GROUPS, MAX_PAD, Augmentation, Group

PLAN_ARRAYS: dict[Group, tuple[str, ...]] = {
    "plain": ("crop_yx", "flip"),
    "mixed": ("crop_yx", "flip", "partner", "lam", "mix_rank"),
}
PLAN_DTYPES = {"crop_yx": "u1", "flip": "?", "partner": "i4", "lam": "f4", "mix_rank": "i4"}

# Each array of a view has its own random stream: drawing one of them differently (with another alpha, say)
# does not change the others.
_STREAMS = {"crop_yx": 0, "partner": 2, "lam": 3, "mix_rank": 4, "cells": 5, "sampling": 6}
_GOLDEN = 618  # golden ratio in thousandths: an integer, so that the start of a replicate is exact


@checked
class ViewRecipe:
    """How the views of one group are drawn.

    `draw` is `random` (independent crops and flips, as in online training), `stratified` (each image goes
    through all crops and flips before one repeats) or `given` (drawn elsewhere and imported; `seed` is
    then meaningless). `alpha` is the parameter of mixup's Beta(alpha, alpha); None for the plain group.
    """

    pad: int = Field(ge=0, le=MAX_PAD)
    flip: bool
    draw: Literal["stratified", "random", "given"]
    alpha: Annotated[float, Field(gt=0)] | None
    seed: Seed

    @property
    def augmentation(self) -> Augmentation:
        """The padding and flips that this recipe draws from."""
        return Augmentation(pad=self.pad, flip=self.flip)


@dataclass(frozen=True)
class View:
    """The plan of one view over N training images, in data-set order.

    Attributes:
        crop_yx: u1 [N, 2], top-left corner of the crop in the zero-padded image, in pixels.
        flip: bool [N], whether the crop is flipped horizontally.
        partner: i4 [N], index of the image that each one is mixed with (a permutation); mixed group only.
        lam: f4 [N], weight of the image itself, in [0, 1]; mixed group only.
        mix_rank: i4 [N], a permutation: under a mixup share p the images of rank below round(p*N) are
            the mixed ones; mixed group only.
    """

    crop_yx: NDArray[np.uint8]
    flip: NDArray[np.bool_]
    partner: NDArray[np.int32] | None = None
    lam: NDArray[np.float32] | None = None
    mix_rank: NDArray[np.int32] | None = None

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays of this view, by name."""
        present = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: array for name, array in present.items() if array is not None}

    def unmixed(self) -> "View":
        """The same crops and flips, without mixup."""
        return View(self.crop_yx, self.flip)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "View":
        """The inverse of `arrays`."""
        return cls(**arrays)


def _rng(seed: int, group: Group, index: int, stream: str) -> np.random.Generator:
    key = np.array([seed, (GROUPS.index(group) << 32) | index], dtype=np.uint64)
    counter = np.array([0, 0, 0, _STREAMS[stream]], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


@lru_cache(maxsize=2)
def _cell_order(seed: int, group: Group, block: int, cells: int, count: int) -> NDArray[np.uint16]:
    """For each image a random order of all (crop, flip) pairs: u2 [N, cells]."""
    ordered = np.broadcast_to(np.arange(cells, dtype=np.uint16), (count, cells))
    return _rng(seed, group, block, "cells").permuted(ordered, axis=1)


def draw_view(group: Group, recipe: ViewRecipe, v: int, count: int) -> View:
    """Draw the plan of view number `v` over `count` images; a pure function of its arguments.

    A view does not depend on the number of views, so more of them can be added to a store later. Raises
    ValueError for a recipe of views that were drawn elsewhere, and for a mixed view without alpha.

    >>> recipe = ViewRecipe(pad=4, flip=True, draw="random", alpha=None, seed=0)
    >>> view = draw_view("plain", recipe, 7, count=3)
    >>> view.crop_yx.tolist(), view.flip.tolist()
    ([[7, 2], [5, 2], [0, 3]], [True, False, True])
    """
    if recipe.draw == "given":
        raise ValueError("views that were drawn elsewhere cannot be drawn again")
    cells = recipe.augmentation.cells
    if recipe.draw == "stratified":
        block, position = divmod(v, cells)
        cell = _cell_order(recipe.seed, group, block, cells, count)[:, position].astype(np.int64)
    else:
        cell = _rng(recipe.seed, group, v, "crop_yx").integers(0, cells, size=count)
    corners, flip = divmod(cell, 2) if recipe.flip else (cell, np.zeros(count, np.int64))
    crop_yx = np.stack(divmod(corners, 2 * recipe.pad + 1), axis=1).astype(np.uint8)
    if group == "plain":
        return View(crop_yx, flip.astype(np.bool_))
    if recipe.alpha is None:
        raise ValueError("a mixed view needs an alpha (the parameter of mixup's Beta distribution)")
    return View(
        crop_yx,
        flip.astype(np.bool_),
        partner=_rng(recipe.seed, group, v, "partner").permutation(count).astype(np.int32),
        lam=_rng(recipe.seed, group, v, "lam")
        .beta(recipe.alpha, recipe.alpha, count)
        .astype(np.float32),
        mix_rank=_rng(recipe.seed, group, v, "mix_rank").permutation(count).astype(np.int32),
    )


def check_view(group: Group, view: View, augmentation: Augmentation) -> list[str]:
    """Problems with the values of a view: arrays, permutations, ranges of crops and weights, flips.

    >>> view = View(np.array([[9, 0]], np.uint8), np.array([False]))
    >>> check_view("plain", view, Augmentation(pad=4, flip=True))
    ['crop_yx reaches 9, at most 8 fits the padding']
    """
    arrays = view.arrays()
    if tuple(arrays) != PLAN_ARRAYS[group]:
        return [f"a {group} view has the arrays {PLAN_ARRAYS[group]}, found {tuple(arrays)}"]
    problems = []
    farthest, most = int(view.crop_yx.max(initial=0)), 2 * augmentation.pad
    if farthest > most:
        problems.append(f"crop_yx reaches {farthest}, at most {most} fits the padding")
    if not augmentation.flip and view.flip.any():
        problems.append("flip has flipped images, and the recipe has none")
    for name in ("partner", "mix_rank"):
        array = arrays.get(name)
        if array is not None and not _is_permutation(array):
            problems.append(f"{name} is not a permutation of 0..{len(array) - 1}")
    if view.lam is not None and not bool(np.all((view.lam >= 0) & (view.lam <= 1))):
        problems.append("lam has values outside [0, 1]")
    return problems


def _is_permutation(array: NDArray[np.int32]) -> bool:
    if array.size and (int(array.min()) < 0 or int(array.max()) >= array.size):
        return False
    return bool(np.all(np.bincount(array, minlength=array.size) == 1))


def mixed_rows(mix_rank: NDArray[np.int32], share: float) -> NDArray[np.bool_]:
    """Which images are mixed under a mixup share: bool [N], exactly round(share * N) of them.

    An image that is mixed under one share is also mixed under every larger share.

    >>> mixed_rows(np.array([2, 0, 3, 1], np.int32), 0.5).tolist()
    [False, True, False, True]
    """
    return mix_rank < round(share * len(mix_rank))


@dataclass(frozen=True)
class EpochPlan:
    """How every training image is augmented in one epoch; plain and mixed rows in one table.

    Attributes:
        crop_yx: u1 [N, 2], flip: bool [N]: crop and flip of the image itself.
        partner: i4 [N]: the image it is mixed with; itself where the row is plain.
        partner_crop_yx: u1 [N, 2], partner_flip: bool [N]: crop and flip of the partner.
        lam: f4 [N]: weight of the image itself; 1 where the row is plain.
        mixed: bool [N]: whether the row is mixed.
    """

    crop_yx: NDArray[np.uint8]
    flip: NDArray[np.bool_]
    partner: NDArray[np.int32]
    partner_crop_yx: NDArray[np.uint8]
    partner_flip: NDArray[np.bool_]
    lam: NDArray[np.float32]
    mixed: NDArray[np.bool_]

    @classmethod
    def blank(cls, mixed: NDArray[np.bool_]) -> "EpochPlan":
        """A plan whose rows `fill` has yet to set; mixed: bool [N]."""
        count = len(mixed)
        return cls(
            crop_yx=np.zeros((count, 2), np.uint8),
            flip=np.zeros(count, np.bool_),
            partner=np.arange(count, dtype=np.int32),
            partner_crop_yx=np.zeros((count, 2), np.uint8),
            partner_flip=np.zeros(count, np.bool_),
            lam=np.ones(count, np.float32),
            mixed=mixed,
        )

    def fill(self, view: View, rows: NDArray[Any]) -> None:
        """Copy rows (indices or bool [N]) from a view of either group."""
        self.crop_yx[rows] = view.crop_yx[rows]
        self.flip[rows] = view.flip[rows]
        if view.partner is None or view.lam is None:
            self.partner_crop_yx[rows] = view.crop_yx[rows]
            self.partner_flip[rows] = view.flip[rows]
            return
        partner = view.partner[rows]
        self.partner[rows] = partner
        self.partner_crop_yx[rows] = view.crop_yx[partner]
        self.partner_flip[rows] = view.flip[partner]
        self.lam[rows] = view.lam[rows]


def plan_of(view: View) -> EpochPlan:
    """The epoch plan of one whole view: all rows are mixed in a mixed view, none in a plain one.

    >>> plan = plan_of(View(np.zeros((2, 2), np.uint8), np.array([False, True])))
    >>> plan.mixed.tolist(), plan.partner.tolist(), plan.lam.tolist()
    ([False, False], [0, 1], [1.0, 1.0])
    """
    count = len(view.flip)
    plan = EpochPlan.blank(np.full(count, view.partner is not None))
    plan.fill(view, np.arange(count))
    return plan


def epoch_view(views: int, epoch: int, replicate: int) -> int:
    """The view that a replicate uses in an epoch: consecutive views, from a start of its own.

    The starts are multiples of the golden ratio, so that replicates use different views at the same time.

    >>> [epoch_view(10, epoch, replicate=1) for epoch in range(5)]
    [6, 7, 8, 9, 0]
    """
    return (epoch + views * (_GOLDEN * replicate % 1000) // 1000) % views


def image_views(views: int, epoch: int, seed: int, group: Group, count: int) -> NDArray[np.int64]:
    """A random view for every image, drawn again in each epoch: i8 [N]."""
    return _rng(seed, group, epoch, "sampling").integers(0, views, size=count)


def epoch_order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """The random order of the images in an epoch: a permutation, i8 [N].

    >>> epoch_order(seed=0, epoch=3, count=5).tolist()
    [0, 1, 2, 3, 4]
    """
    key = np.array([seed, epoch], dtype=np.uint64)
    counter = np.array([0, 0, 0, 1], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter)).permutation(count)
