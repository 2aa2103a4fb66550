"""From images and a plan to the batches that a network sees: crop, flip, normalise, mix.

Everything is done for a whole batch at once and straight from the plan. The uint8 part is a gather,
equal bit for bit on every device; on a CPU it copies whole rows of pixels out of a padded and
pre-flipped copy of the data set, on a GPU it indexes the padded images.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.views import Augmentation, EpochPlan


@dataclass(frozen=True)
class Batch:
    """What one training step sees.

    Attributes:
        images: f4 [B, 3, H, W], normalised, channels last in memory.
        targets: f4 [B, C], class probabilities: one-hot, or mixed with the images' weight.
        teacher_logits: f4 [B, C] or None; teacher_features: f4 [B, D] or None.
    """

    images: Tensor
    targets: Tensor
    teacher_logits: Tensor | None = None
    teacher_features: Tensor | None = None


@dataclass(frozen=True)
class EpochData:
    """Everything that one epoch needs besides the images themselves.

    Attributes:
        plan: crops, flips, partners and weights of all N images.
        teacher_logits: f2 [N, C] or None; teacher_features: f2 [N, D] or None; in data-set order.
    """

    plan: EpochPlan
    teacher_logits: NDArray[np.float16] | None = None
    teacher_features: NDArray[np.float16] | None = None


EpochSource = Callable[[int], EpochData]


class ImageBank:
    """A data set held in memory, from which augmented batches are gathered.

    Args:
        images: u1 [N, H, W, 3].
        mean, std: per channel, of pixel / 255.
        pad: zero pixels on each side; crops have the size of the image.
        flip: whether flips occur (keeps a flipped copy on a CPU).
        device: where batches are made.
    """

    def __init__(
        self,
        images: NDArray[np.uint8],
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        augmentation: Augmentation,
        device: torch.device,
    ) -> None:
        self.count, self.height, self.width = (int(size) for size in images.shape[:3])
        self.pad = augmentation.pad
        self.device = device
        border = (self.pad, self.pad)
        padded = np.pad(images, ((0, 0), border, border, (0, 0)))
        if device.type == "cpu":
            copies = [padded, padded[:, :, ::-1]] if augmentation.flip else [padded]
            self._windows = self._all_crops(np.ascontiguousarray(np.stack(copies)))
        else:
            self._padded = torch.from_numpy(padded).to(device)
        deviation = torch.tensor(std, dtype=torch.float64)
        average = torch.tensor(mean, dtype=torch.float64)
        self._scale = (1 / (255 * deviation)).to(device, torch.float32)
        self._shift = (-average / deviation).to(device, torch.float32)

    def _all_crops(self, stacked: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A view [flip, N, y, x, H, W*3] of all crops of all images; nothing is copied."""
        flips, count, side, _, _ = stacked.shape
        image, row = stacked.strides[1], stacked.strides[2]
        places = 2 * self.pad + 1
        return np.lib.stride_tricks.as_strided(
            stacked.reshape(flips, count, side, -1),
            shape=(flips, count, places, places, self.height, self.width * 3),
            strides=(stacked.strides[0], image, row, 3, row, 1),
            writeable=False,
        )

    def crops(self, rows: Tensor, crop_yx: Tensor, flip: Tensor) -> Tensor:
        """Cut crops: rows i8 [B], crop_yx u1 [B, 2], flip bool [B] -> u1 [B, H, W, 3]."""
        if self.device.type == "cpu":
            return self._copy_crops(rows.numpy(), crop_yx.numpy(), flip.numpy())
        return index_crops(self._padded, rows, crop_yx, flip, (self.height, self.width))

    def _copy_crops(
        self, rows: NDArray[np.int64], crop_yx: NDArray[np.uint8], flip: NDArray[np.bool_]
    ) -> Tensor:
        y, x = crop_yx[:, 0].astype(np.int64), crop_yx[:, 1].astype(np.int64)
        # In the flipped copy the crop that starts at x starts as far from the other side.
        x = np.where(flip, 2 * self.pad - x, x)
        pixels = self._windows[flip.astype(np.int64), rows, y, x]
        return torch.from_numpy(pixels.reshape(len(rows), self.height, self.width, 3))

    def normalise(self, pixels: Tensor) -> Tensor:
        """u1 [B, H, W, 3] -> f4 [B, 3, H, W] of (pixel / 255 - mean) / std, channels last in memory."""
        return pixels.to(torch.float32).mul_(self._scale).add_(self._shift).permute(0, 3, 1, 2)


def index_crops(
    padded: Tensor, rows: Tensor, crop_yx: Tensor, flip: Tensor, size: tuple[int, int]
) -> Tensor:
    """Cut crops by indexing, on any device: padded u1 [N, H+2p, W+2p, 3] -> u1 [B, H, W, 3]."""
    height, width = size
    ys = crop_yx[:, :1].long() + torch.arange(height, device=padded.device)
    columns = torch.arange(width, device=padded.device).expand(len(rows), width)
    columns = torch.where(flip[:, None], width - 1 - columns, columns)
    xs = crop_yx[:, 1:].long() + columns
    return padded[rows[:, None, None], ys[:, :, None], xs[:, None, :]]


class ViewBatches:
    """Batches of the current epoch: an image bank, its labels and one epoch's data.

    Args:
        bank: the images.
        labels: i4 [N], class numbers below `num_classes`.
    """

    def __init__(self, bank: ImageBank, labels: NDArray[np.int32], num_classes: int) -> None:
        self.bank = bank
        self.count = bank.count
        self.num_classes = num_classes
        self._labels = torch.from_numpy(labels.astype(np.int64)).to(bank.device)

    def start(self, data: EpochData) -> None:
        """Make `data` the epoch that batches are taken from."""
        device, plan = self.bank.device, data.plan
        self._crop_yx = torch.from_numpy(plan.crop_yx).to(device)
        self._flip = torch.from_numpy(plan.flip).to(device)
        self._partner = torch.from_numpy(plan.partner.astype(np.int64)).to(device)
        self._partner_crop_yx = torch.from_numpy(plan.partner_crop_yx).to(device)
        self._partner_flip = torch.from_numpy(plan.partner_flip).to(device)
        self._lam = torch.from_numpy(plan.lam).to(device)
        self._mixed = torch.from_numpy(plan.mixed).to(device)
        self._any_mixed = bool(plan.mixed.any())
        self._teacher_logits = self._on_device(data.teacher_logits)
        self._teacher_features = self._on_device(data.teacher_features)

    def _on_device(self, array: NDArray[np.float16] | None) -> Tensor | None:
        return None if array is None else torch.from_numpy(array).to(self.bank.device)

    def batch(self, rows: Tensor) -> Batch:
        """Gather the batch of the given rows, i8 [B] on the bank's device."""
        logits, features = self._teacher_logits, self._teacher_features
        return Batch(
            self.images(rows),
            self.targets(rows),
            None if logits is None else logits[rows].float(),
            None if features is None else features[rows].float(),
        )

    def images(self, rows: Tensor) -> Tensor:
        """Augmented, normalised and mixed images of the rows: f4 [B, 3, H, W]."""
        images = self._own(rows)
        if not self._any_mixed:
            return images
        if self.bank.device.type == "cpu":
            # Mixing with weight 1 changes nothing, so on a CPU the plain rows are left out.
            mixed = self._mixed[rows].nonzero().flatten()
            if len(mixed) < len(rows):
                images[mixed] = self._mix(images[mixed], rows[mixed])
                return images
        return self._mix(images, rows)

    def _own(self, rows: Tensor) -> Tensor:
        return self.bank.normalise(self.bank.crops(rows, self._crop_yx[rows], self._flip[rows]))

    def _mix(self, images: Tensor, rows: Tensor) -> Tensor:
        crop_yx, flip = self._partner_crop_yx[rows], self._partner_flip[rows]
        others = self.bank.normalise(self.bank.crops(self._partner[rows], crop_yx, flip))
        lam = self._lam[rows].view(-1, 1, 1, 1)
        return images * lam + others * (1 - lam)

    def targets(self, rows: Tensor) -> Tensor:
        """Class probabilities of the rows: f4 [B, C], mixed with the weight of the images."""
        own = torch.nn.functional.one_hot(self._labels[rows], self.num_classes).float()
        if not self._any_mixed:
            return own
        partner_labels = self._labels[self._partner[rows]]
        other = torch.nn.functional.one_hot(partner_labels, self.num_classes).float()
        lam = self._lam[rows].view(-1, 1)
        return own * lam + other * (1 - lam)


def clean_epoch(count: int, pad: int) -> EpochData:
    """The epoch that shows every image as it is: the middle crop, no flip, nothing mixed."""
    plan = EpochPlan.blank(np.zeros(count, np.bool_))
    plan.crop_yx[:] = pad
    plan.partner_crop_yx[:] = pad
    return EpochData(plan)
