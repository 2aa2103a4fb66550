"""From images and a plan to batches: crop, flip, mix, normalise.

A whole batch is made at once, directly from the plan. Crops are gathered as uint8 and have the same bits on
every device. On a CPU each crop is one copy from a padded and flipped copy of the data set; on a GPU the
padded images are indexed. Pixels are mixed before they are normalised, which gives the same result and
normalises half as many. Multiplications and additions are separate operations, because a device that fuses
them rounds differently.

The data of an epoch are copied into memory that stays in place, so that a recorded step
(`pipeline.training.graphs`) reads the next epoch from the same addresses. Nothing waits for the device.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.views.params import Augmentation
from pipeline.views.plans import EpochPlan


@dataclass(frozen=True)
class Batch:
    """The inputs of one training step.

    Attributes:
        images: f4 [B, 3, H, W], normalised, channels last in memory.
        targets: f4 [B, C], class probabilities: one-hot, or mixed like the images.
        teacher_logits: f4 [B, C] or None; teacher_features: f4 [B, D] or None.
    """

    images: Tensor
    targets: Tensor
    teacher_logits: Tensor | None = None
    teacher_features: Tensor | None = None


@dataclass(frozen=True)
class EpochData:
    """Everything that one epoch needs besides images and labels.

    Attributes:
        plan: crops, flips, partners and weights of all N images.
        teacher_logits: f2 [N, C] or None; teacher_features: f2 [N, D] or None; in data-set order.
    """

    plan: EpochPlan
    teacher_logits: NDArray[np.float16] | None = None
    teacher_features: NDArray[np.float16] | None = None


EpochSource = Callable[[int], EpochData]


@dataclass(frozen=True)
class StagedEpoch:
    """The data of an epoch as tables in host memory (pinned for a GPU); see `ViewBatches.stage`."""

    tables: dict[str, Tensor]


class ImageBank:
    """The images of a data set in memory, from which augmented batches are gathered.

    Args:
        images: u1 [N, H, W, 3].
        mean, std: per channel, of pixel / 255.
        augmentation: zero pixels on each side (a crop has the size of the image), and whether images are
            flipped (on a CPU a flipped copy is kept).
        device: where batches are made.
        by_index: gather single pixels (the default on a GPU) or copy whole crops (faster on a CPU).
    """

    def __init__(
        self,
        images: NDArray[np.uint8],
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        augmentation: Augmentation,
        device: torch.device,
        *,
        by_index: bool | None = None,
    ) -> None:
        self.count, self.height, self.width = (int(size) for size in images.shape[:3])
        self.pad, self.flip = augmentation.pad, augmentation.flip
        self.device = device
        self.by_index = device.type != "cpu" if by_index is None else by_index
        padded = self._padded(images, flipped=self.flip and not self.by_index)
        if self.by_index:
            self._pixels = padded.view(-1, 3).to(device)
            self._lines = torch.arange(self.height).mul_(self._width).to(device)
            self._columns = torch.arange(self.width).to(device)
        else:
            self._windows = self._all_crops(padded)
        means, stds = torch.tensor([mean, std], dtype=torch.float64)
        self._scale = self._per_pixel(1 / (255 * stds))
        self._shift = self._per_pixel(-means / stds)

    @property
    def _width(self) -> int:
        """Pixels in a row of the padded images."""
        return self.width + 2 * self.pad

    def _per_pixel(self, channels: Tensor) -> Tensor:
        """Numbers per channel [3], repeated for every pixel: f4 [H, W, 3].

        Arithmetic with an operand of the same shape is eight times as fast as broadcasting three numbers.
        """
        numbers = channels.to(self.device, torch.float32)
        return numbers.expand(self.height, self.width, 3).contiguous()

    def _padded(self, images: NDArray[np.uint8], *, flipped: bool) -> Tensor:
        """The zero-padded images and, if `flipped`, the same images flipped: u1, flat.

        Zeros are appended so that the last crop can be copied with as many bytes as the others.
        """
        copies = (images, images[:, :, ::-1])[: 1 + flipped]
        shape = (len(copies), self.count, self.height + 2 * self.pad, self._width, 3)
        size = math.prod(shape)
        memory = np.zeros(size + 2 * self.pad * 3, np.uint8)
        inside = (slice(self.pad, self.pad + self.height), slice(self.pad, self.pad + self.width))
        for padded, copy in zip(memory[:size].reshape(shape), copies, strict=True):
            padded[:, *inside] = copy
        return torch.from_numpy(memory)

    def _all_crops(self, padded: Tensor) -> Tensor:
        """All crops by their first pixel, u1 [first pixel, H * padded width * 3]; nothing is copied.

        Each has H rows of the width of the padded image, of which the first W pixels are the crop.
        """
        length = self.height * self._width * 3
        crops = max(0, (len(padded) - length) // 3 + 1)  # 0 for an empty data set
        return padded.as_strided((crops, length), (3, 1))

    def locate(
        self, rows: NDArray[np.integer], crop_yx: NDArray[np.uint8], flip: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        """The places of crops in the bank's memory, for `cut`: i8 [B, 1], or [B, 2] `by_index`.

        Args:
            rows: integers [B], images; crop_yx: u1 [B, 2]; flip: bool [B].

        Raises IndexError for crops beyond the padding, and for flips in a bank without flips.
        """
        y, x = crop_yx[:, 0].astype(np.int64), crop_yx[:, 1].astype(np.int64)
        if (crop_yx > 2 * self.pad).any() or (flip.any() and not self.flip):
            raise IndexError(f"crops lie within 0..{2 * self.pad}, flips: {self.flip}")
        images = np.asarray(rows, np.int64)
        if self.by_index:  # a flipped row is read from its last pixel, backwards
            x = np.where(flip, x + self.width - 1, x)
        else:
            # In the flipped copy, a crop lies as far from the right as it did from the left.
            x = np.where(flip, 2 * self.pad - x, x)
            images = images + flip * self.count
        first = (images * (self.height + 2 * self.pad) + y) * self._width + x
        return np.stack([first, 1 - 2 * flip] if self.by_index else [first], axis=1)

    def cut(self, places: Tensor) -> Tensor:
        """The crops at places from `locate`, on the bank's device: u1 [B, H, W, 3]."""
        if self.by_index:
            first, step = places[:, :1], places[:, 1:]
            rows, columns = first + self._lines, step * self._columns
            return self._pixels[rows[:, :, None] + columns[:, None, :]]
        pixels = self._windows.index_select(0, places[:, 0])
        return pixels.view(-1, self.height, self._width, 3)[:, :, : self.width]

    def crops(self, rows: Tensor, crop_yx: Tensor, flip: Tensor) -> Tensor:
        """Cut crops: rows i8 [B], crop_yx u1 [B, 2], flip bool [B] -> u1 [B, H, W, 3].

        >>> white, pad = np.full((1, 2, 2, 3), 255, np.uint8), Augmentation(pad=1, flip=False)
        >>> bank = ImageBank(white, (0.5,) * 3, (0.25,) * 3, pad, torch.device("cpu"))
        >>> bank.crops(torch.tensor([0]), torch.tensor([[0, 1]]), torch.tensor([False]))[0, :, :, 0]
        tensor([[  0,   0],
                [255, 255]], dtype=torch.uint8)
        """
        places = self.locate(*(tensor.cpu().numpy() for tensor in (rows, crop_yx, flip)))
        return self.cut(torch.from_numpy(places).to(self.device))

    @cached_property
    def clean_places(self) -> Tensor:
        """Places of all images without augmentation, on the bank's device; see `locate`."""
        middle = np.full((self.count, 2), self.pad, np.uint8)
        places = self.locate(np.arange(self.count), middle, np.zeros(self.count, np.bool_))
        return torch.from_numpy(places).to(self.device)

    def normalise(self, pixels: Tensor) -> Tensor:
        """u1 [B, H, W, 3] -> f4 [B, 3, H, W] of (pixel / 255 - mean) / std, channels last in memory."""
        return self._normalised(pixels.to(torch.float32))

    def mix(self, pixels: Tensor, weights: Tensor) -> Tensor:
        """Mixup, normalised: crops u1 [2 * B, H, W, 3] (B images, then their B partners) and weights
        f4 [2, B] -> f4 [B, 3, H, W], channels last in memory."""
        images, partners = pixels.to(torch.float32).mul_(weights.view(-1, 1, 1, 1)).chunk(2)
        return self._normalised(images.add_(partners))

    def _normalised(self, pixels: Tensor) -> Tensor:
        return pixels.mul_(self._scale).add_(self._shift).permute(0, 3, 1, 2)


class ViewBatches:
    """Batches of the current epoch: a bank of images, their labels i4 [N], and the data of one epoch."""

    def __init__(self, bank: ImageBank, labels: NDArray[np.int32], num_classes: int) -> None:
        self.bank = bank
        self.count = bank.count
        self.num_classes = num_classes
        self._labels = labels.astype(np.int64)
        self._identity = torch.eye(num_classes, device=bank.device)
        self._memory: dict[tuple[str, torch.dtype, torch.Size], Tensor] = {}
        self._tables: dict[str, Tensor] = {}

    def stage(self, data: EpochData) -> StagedEpoch:
        """Prepare an epoch's data for `start`; safe in another thread.

        The tables by name: `places` i8 [1 or 2, N, 1 or 2] and `labels` i8 [1 or 2, N], of the images
        and, if any image is mixed, of their partners; then also `weights` f4 [2, N] of both;
        `teacher_logits` f2 [N, C] and `teacher_features` f2 [N, D] if the epoch has them.
        """
        plan = data.plan
        images = np.arange(self.count)
        places = [self.bank.locate(images, plan.crop_yx, plan.flip)]
        labels = [self._labels]
        teacher = {"teacher_logits": data.teacher_logits, "teacher_features": data.teacher_features}
        tables: dict[str, NDArray[Any]] = {k: v for k, v in teacher.items() if v is not None}
        if plan.mixed.any():
            crop_yx, flip = plan.partner_crop_yx, plan.partner_flip
            places.append(self.bank.locate(plan.partner, crop_yx, flip))
            labels.append(self._labels[plan.partner])
            tables["weights"] = np.stack([plan.lam, 1 - plan.lam])
        tables |= {"places": np.stack(places), "labels": np.stack(labels)}
        tensors = {name: torch.from_numpy(table) for name, table in tables.items()}
        if self.bank.device.type == "cuda":
            with torch.cuda.device(self.bank.device):  # in a new thread the first GPU is current
                tensors = {name: tensor.pin_memory() for name, tensor in tensors.items()}
        return StagedEpoch(tensors)

    def start(self, data: EpochData | StagedEpoch) -> None:
        """Make `data` the current epoch.

        Its tables overwrite those of the last epoch; on a GPU the copy is queued on the current stream,
        so that earlier steps still read the last epoch and later steps read this one.
        """
        staged = data if isinstance(data, StagedEpoch) else self.stage(data)
        self._tables = {}
        for name, table in staged.tables.items():
            key = (name, table.dtype, table.shape)
            if key not in self._memory:
                self._memory[key] = torch.empty_like(table, device=self.bank.device)
            self._tables[name] = self._memory[key].copy_(table, non_blocking=True)

    @property
    def layout(self) -> tuple[tuple[str, int], ...]:
        """Names and addresses of the current epoch's tables; a recorded step is valid for one layout."""
        return tuple((name, table.data_ptr()) for name, table in sorted(self._tables.items()))

    def batch(self, rows: Tensor) -> Batch:
        """Gather the batch of some rows, i8 [B] on the bank's device."""
        teacher = (self._outputs(name, rows) for name in ("teacher_logits", "teacher_features"))
        return Batch(self.images(rows), self.targets(rows), *teacher)

    def _outputs(self, name: str, rows: Tensor) -> Tensor | None:
        return self._tables[name].index_select(0, rows).float() if name in self._tables else None

    def views(self, rows: Tensor) -> dict[str, Tensor]:
        """Some rows of the tables `places`, `labels` and `weights` (see `stage`): what identifies a view."""
        names = {"places", "labels", "weights"} & self._tables.keys()
        return {name: self._tables[name].index_select(1, rows) for name in names}

    def images(self, rows: Tensor) -> Tensor:
        """Augmented, mixed and normalised images of some rows: f4 [B, 3, H, W].

        The bits of a row do not depend on the other rows: a weight of 1 does not change a plain row.
        """
        places = self._tables["places"].index_select(1, rows)
        pixels = self.bank.cut(places.flatten(0, 1))
        if "weights" not in self._tables:
            return self.bank.normalise(pixels)
        return self.bank.mix(pixels, self._tables["weights"].index_select(1, rows))

    def targets(self, rows: Tensor) -> Tensor:
        """Class probabilities of some rows: f4 [B, C], mixed with the weights of the images."""
        labels = self._tables["labels"].index_select(1, rows)
        one_hot = self._identity.index_select(0, labels[0])
        if "weights" not in self._tables:
            return one_hot
        weights = self._tables["weights"].index_select(1, rows).view(2, -1, 1)
        return one_hot * weights[0] + self._identity.index_select(0, labels[1]) * weights[1]


def clean_epoch(count: int, pad: int) -> EpochData:
    """An epoch of clean images: centre crops, no flips, no mixup."""
    plan = EpochPlan.blank(np.zeros(count, np.bool_))
    plan.crop_yx[:] = pad
    plan.partner_crop_yx[:] = pad
    return EpochData(plan)
