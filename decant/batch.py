"""What a student gets in one step, and where it comes from: one replicate's epochs from a store."""

from typing import Annotated, Any, NamedTuple, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from pipeline.core.dataset import ImageData
from pipeline.core.params import Fraction, ParamsError, Seed, checked, read
from pipeline.distill.epochs import StoreViews
from pipeline.distill.params import Sampling
from pipeline.store.read import Store
from pipeline.views.batches import ImageBank, ViewBatches
from pipeline.views.plans import epoch_order

T = TypeVar("T")


class Batch(NamedTuple):
    """B images as a student sees them; of a single image the same without B.

    Attributes:
        images: f4 [B, 3, H, W], cropped, flipped, mixed and normalised.
        targets: f4 [B, C], class probabilities: one-hot, or mixed like the images.
        teacher_logits: f4 [B, C].
        teacher_features: f4 [B, D], D = 0 where none were asked for.
        indices: i8 [B], which training images these are.
    """

    images: Tensor
    targets: Tensor
    teacher_logits: Tensor
    teacher_features: Tensor
    indices: Tensor


@checked
class Student:
    """What a student reads: the keys of an entry of `students`, and the number of its replicate."""

    share: Fraction
    replicate: int = Field(ge=0)
    seed: Seed
    views: Annotated[int, Field(ge=1)] | None
    sampling: Sampling
    features: bool

    @classmethod
    def of(
        cls,
        share: float,
        replicate: int,
        seed: int,
        views: int | None,
        sampling: Sampling,
        features: bool,
    ) -> Self:
        """The same, by position. Raises ParamsError for values that no student can have."""
        values = {"share": share, "replicate": replicate, "seed": seed, "views": views}
        return valid(cls, **values, sampling=sampling, features=features)

    @property
    def order_seed(self) -> int:
        """Seed of the order of the images, and of `image` sampling."""
        return self.seed + self.replicate


@checked
class Step:
    """Where in a training, and how many images at a time."""

    epoch: int = Field(default=0, ge=0)
    batch_size: int = Field(default=1, ge=1)


def valid(cls: type[T], **values: Any) -> T:
    """A checked model of values. Raises ParamsError, naming each that is wrong."""
    problems: list[str] = []
    plain = {name: v.item() if isinstance(v, np.generic) else v for name, v in values.items()}
    made = read(cls, plain, "", problems)
    if problems:
        raise ParamsError(problem.removeprefix(".") for problem in problems)
    return made  # type: ignore[no-any-return]


class Replay:
    """The epochs of one replicate of a student.

    Args:
        store: opened with the groups of the student's share.
        data: the data set of the store; bank: its training images.

    Raises ValueError if the store lacks what the student reads.
    """

    def __init__(self, store: Store, data: ImageData, bank: ImageBank, student: Student) -> None:
        views = StoreViews(
            store,
            student.share,
            seed=student.seed,
            views=student.views,
            sampling=student.sampling,
            features=student.features,
        )
        self._source = views.of(student.replicate)
        self._batches = ViewBatches(bank, data.train.labels, len(data.class_names))
        self._epoch: int | None = None
        self.student, self.count, self.device = student, bank.count, bank.device

    def order(self, epoch: int) -> NDArray[np.int64]:
        """The order of the images in an epoch: i8 [N]."""
        return epoch_order(self.student.order_seed, epoch, self.count)

    def batch(self, epoch: int, rows: Tensor) -> Batch:
        """Some images of an epoch, i8 [B] on the bank's device; the epoch is read when it is another."""
        if epoch != self._epoch:
            self._epoch = None
            self._batches.start(self._source(epoch))
            self._epoch = epoch
        images, targets, logits, features = vars(self._batches.batch(rows)).values()
        assert logits is not None, "a store has logits"
        none = logits.new_empty((len(rows), 0))
        return Batch(images, targets, logits, none if features is None else features, rows)

    def rows(self, indices: NDArray[np.int64]) -> Tensor:
        """Indices of images on the bank's device: i8 [B]."""
        return torch.from_numpy(indices).to(self.device)
