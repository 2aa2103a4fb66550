"""What a student sees: some images as they are, cropped, mixed, and what the teacher says of them.

The data alone; `pipeline.tools.strip_picture` draws them. Crops and mixing are those of training
(`pipeline.views.batches`), on the few images that are shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.core.dataset import ImageData, Images
from pipeline.core.errors import DecantError
from pipeline.store.read import Half, ViewGroup
from pipeline.views.batches import ImageBank
from pipeline.views.plans import View

LIKELIEST = 5


@dataclass(frozen=True)
class Likely:
    """A class that the teacher thinks likely: its number, its name and its probability at T = 1."""

    label: int
    name: str
    probability: float


@dataclass(frozen=True, eq=False)
class Partner:
    """What an image is mixed with.

    Attributes:
        index: of the training image; label: its class.
        pixels: u1 [H, W, 3], its crop in the view; mixed: u1 [H, W, 3], the mixed image, rounded.
        lam: weight of the image itself, in [0, 1].
    """

    index: int
    label: int
    pixels: Images
    mixed: Images
    lam: float


@dataclass(frozen=True, eq=False)
class Example:
    """One training image in one view.

    Attributes:
        index: of the training image; label: its class.
        clean: u1 [H, W, 3], the image as it is; augmented: u1 [H, W, 3], its crop in the view.
        partner: None in a view without mixup.
        likely: the teacher's likeliest classes for what the student sees, likeliest first.
        likely_clean: the same for the clean image; None where the store has no clean logits.
    """

    index: int
    label: int
    clean: Images
    augmented: Images
    partner: Partner | None
    likely: tuple[Likely, ...]
    likely_clean: tuple[Likely, ...] | None


@dataclass(frozen=True, eq=False)
class Strip:
    """Some images in one view of a teacher's store."""

    teacher: str
    group: str
    view: int
    class_names: tuple[str, ...]
    examples: tuple[Example, ...]


def make_strip(
    group: ViewGroup,
    v: int,
    images: Sequence[int],
    data: ImageData,
    clean_logits: Half | None = None,
) -> Strip:
    """The strip of some training images in view `v` of a store's plain or mixed group.

    Args:
        data: the prepared data set that the store belongs to (`open_store` compares them).
        clean_logits: f2 [N, C], the teacher's logits of the clean training images.

    Raises DecantError for a view or an image that is not there, a StoreError for a damaged store.
    """
    _check_number("view", v, group.views)
    for index in images:
        _check_number("image", index, group.num_images)
    plan, logits, names = group.plan(v), group.logits(v), data.class_names
    cut = _Cutter(data, plan, group)
    examples = (
        Example(
            index=index,
            label=int(data.train.labels[index]),
            clean=data.train.images[index],
            augmented=cut.crop(index),
            partner=_partner(cut, plan, index, data),
            likely=likeliest(logits[index], names),
            likely_clean=None if clean_logits is None else likeliest(clean_logits[index], names),
        )
        for index in images
    )
    return Strip(group.manifest.header.teacher.name, group.name, v, names, tuple(examples))


def spread(count: int, n: int) -> list[int]:
    """`n` images out of `count`, at equal distances; all where there are fewer. Raises DecantError for none.

    >>> spread(1000, 4)
    [0, 250, 500, 750]
    """
    if n < 1:
        raise DecantError(f"n: expected 1 image or more, found {n}")
    n = min(n, count)
    return [place * count // n for place in range(n)]


def likeliest(logits: NDArray[np.floating], class_names: Sequence[str]) -> tuple[Likely, ...]:
    """The likeliest classes by logits [C], at T = 1; of equal ones the first.

    >>> [(likely.name, round(likely.probability, 2)) for likely in likeliest(np.log([0.1, 0.9]), "ab")]
    [('b', 0.9), ('a', 0.1)]
    """
    exact = logits.astype(np.float64)
    weights = np.exp(exact - exact.max())
    probabilities = weights / weights.sum()
    order = np.argsort(-exact, kind="stable")[:LIKELIEST].tolist()
    return tuple(Likely(c, class_names[c], float(probabilities[c])) for c in order)


class _Cutter:
    """Crops of single images in a view, by the code that makes a student's batches."""

    def __init__(self, data: ImageData, plan: View, group: ViewGroup) -> None:
        recipe = group.manifest.header.recipe
        assert recipe is not None, "views have a recipe"
        self._images, self._plan, self._augmentation = data.train.images, plan, recipe.augmentation

    def _bank(self, index: int) -> ImageBank:
        """A bank of one image, which normalises to pixel / 255."""
        zero, unit, cpu = (0.0,) * 3, (1.0,) * 3, torch.device("cpu")
        return ImageBank(self._images[[index]], zero, unit, self._augmentation, cpu)

    def _pixels(self, index: int) -> torch.Tensor:
        crop_yx, flip = self._plan.crop_yx[[index]], self._plan.flip[[index]]
        first = torch.zeros(1, dtype=torch.int64)
        return self._bank(index).crops(first, torch.from_numpy(crop_yx), torch.from_numpy(flip))

    def crop(self, index: int) -> Images:
        """The crop of an image: u1 [H, W, 3]."""
        return self._pixels(index)[0].numpy()

    def mix(self, index: int, partner: int, lam: np.float32) -> Images:
        """An image mixed with its partner: u1 [H, W, 3], rounded."""
        pixels = torch.cat([self._pixels(index), self._pixels(partner)])
        weights = torch.tensor([[lam], [1 - lam]], dtype=torch.float32)
        mixed = self._bank(index).mix(pixels, weights)[0].permute(1, 2, 0)
        return (255 * mixed).round().to(torch.uint8).numpy()


def _partner(cut: _Cutter, plan: View, index: int, data: ImageData) -> Partner | None:
    if plan.partner is None or plan.lam is None:
        return None
    partner, lam = int(plan.partner[index]), plan.lam[index]
    return Partner(
        index=partner,
        label=int(data.train.labels[partner]),
        pixels=cut.crop(partner),
        mixed=cut.mix(index, partner, lam),
        lam=float(lam),
    )


def _check_number(what: str, number: int, count: int) -> None:
    if not 0 <= number < count:
        raise DecantError(f"{what}: expected 0 to {count - 1}, found {number}")
