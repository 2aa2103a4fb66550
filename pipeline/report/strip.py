"""What a student sees: some images as they are, cropped, mixed, and what the teacher says of them.

The data alone; `pipeline.report.strip_picture` draws them, and the page shows them. A record says which
images, crops and weights (`SeenFacts`); pixels are those of the prepared data set, cut and mixed by the code
of training (`pipeline.views.batches`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.core.dataset import ImageData, Images
from pipeline.results.metrics import likeliest
from pipeline.results.record import CropFacts, ExampleFacts, SeenFacts
from pipeline.views.batches import ImageBank
from pipeline.views.params import Augmentation


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
    seen: SeenFacts,
    teacher: str,
    augmentation: Augmentation,
    data: ImageData,
    clean_logits: Mapping[int, NDArray[np.floating]],
) -> Strip:
    """The strip of the images that a record, or a store (`pipeline.distill.examples`), tells of.

    Args:
        augmentation: that the views were drawn with.
        data: the prepared data set that the views are of.
        clean_logits: index of a training image -> the teacher's logits [C] of it as it is, where known.
    """
    cut = _Cutter(data, augmentation)
    examples = (_example(cut, example, clean_logits) for example in seen.images)
    return Strip(teacher, seen.group, seen.view, data.class_names, tuple(examples))


def _example(
    cut: "_Cutter", example: ExampleFacts, clean_logits: Mapping[int, NDArray[np.floating]]
) -> Example:
    data, index = cut.data, example.image.index
    names, clean = data.class_names, clean_logits.get(index)
    return Example(
        index=index,
        label=int(data.train.labels[index]),
        clean=data.train.images[index],
        augmented=cut.crop(example.image),
        partner=_partner(cut, example),
        likely=_named(example.likely, names),
        likely_clean=None if clean is None else _named(likeliest(clean), names),
    )


def _named(likely: Sequence[tuple[int, float]], names: Sequence[str]) -> tuple[Likely, ...]:
    return tuple(Likely(number, names[number], probability) for number, probability in likely)


def _partner(cut: "_Cutter", example: ExampleFacts) -> Partner | None:
    partner, lam = example.partner, example.lam
    if partner is None or lam is None:
        return None
    return Partner(
        index=partner.index,
        label=int(cut.data.train.labels[partner.index]),
        pixels=cut.crop(partner),
        mixed=cut.mix(example.image, partner, np.float32(lam)),
        lam=lam,
    )


class _Cutter:
    """Crops of single images, by the code that makes a student's batches."""

    def __init__(self, data: ImageData, augmentation: Augmentation) -> None:
        self.data, self._augmentation = data, augmentation

    def _bank(self, index: int) -> ImageBank:
        """A bank of one image, which normalises to pixel / 255."""
        zero, unit, cpu = (0.0,) * 3, (1.0,) * 3, torch.device("cpu")
        return ImageBank(self.data.train.images[[index]], zero, unit, self._augmentation, cpu)

    def _pixels(self, crop: CropFacts) -> torch.Tensor:
        corner = torch.tensor([crop.crop_yx], dtype=torch.uint8)
        first = torch.zeros(1, dtype=torch.int64)
        return self._bank(crop.index).crops(first, corner, torch.tensor([crop.flip]))

    def crop(self, crop: CropFacts) -> Images:
        """The crop of an image: u1 [H, W, 3]."""
        return self._pixels(crop)[0].numpy()

    def mix(self, image: CropFacts, partner: CropFacts, lam: np.float32) -> Images:
        """An image mixed with its partner: u1 [H, W, 3], rounded."""
        pixels = torch.cat([self._pixels(image), self._pixels(partner)])
        weights = torch.tensor([[lam], [1 - lam]], dtype=torch.float32)
        mixed = self._bank(image.index).mix(pixels, weights)[0].permute(1, 2, 0)
        return (255 * mixed).round().to(torch.uint8).numpy()
