"""The opponent: distillation as the field's code does it, written anew and faithfully.

Images come one by one through PIL and torchvision's transforms from a DataLoader; the teacher runs in
eval mode inside the training loop; all is float32 in NCHW memory; loss and accuracies are read after
every step (as in RepDistiller's `loop.py`, Tian et al., ICLR 2020). The DataLoader gets as many workers as
serve this machine best, see `best_workers`.
"""

import time
from collections.abc import Iterator
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax
from torch.utils.data import DataLoader, Dataset

from benchmarks.machine import cores
from benchmarks.setting import BATCH
from benchmarks.teachers import teacher as random_teacher
from pipeline.models import build
from pipeline.prepared import ImageData, Split
from pipeline.torchvision_compat import torchvision

TEMPERATURE, GAMMA, ALPHA = 4.0, 0.1, 0.9
TRIAL_STEPS = 6


class FieldImages(Dataset[tuple[Tensor, int, int]]):
    """Augmented images one by one: tensor f4 [3, 32, 32], label, index."""

    def __init__(self, split: Split, transform: Any) -> None:
        self.split = split
        self.transform = transform

    def __len__(self) -> int:
        return len(self.split.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int, int]:
        image = Image.fromarray(self.split.images[index])
        return self.transform(image), int(self.split.labels[index]), index


def field_transform(data: ImageData) -> Any:
    """RandomCrop(32, padding=4), RandomHorizontalFlip, ToTensor, Normalize."""
    transforms = torchvision.transforms
    return transforms.Compose(
        [
            transforms.RandomCrop(data.train.images.shape[1], padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(data.mean, data.std),
        ]
    )


def top_k(logits: Tensor, targets: Tensor) -> list[float]:
    """Percentages of images whose class is the first, and is among the first five."""
    _, predicted = logits.topk(5, 1)
    hits = predicted.t().eq(targets.view(1, -1))
    return [hits[:k].reshape(-1).float().sum().item() * 100 / len(targets) for k in (1, 5)]


class FieldLoop:
    """The online loop: `run` takes some steps of an endless training."""

    def __init__(
        self, teacher: str, student: str, data: ImageData, workers: int, device: torch.device
    ) -> None:
        self.device = device
        self.teacher: nn.Module = random_teacher(teacher, len(data.class_names)).to(device)
        self.student: nn.Module = build(student, len(data.class_names)).to(device).train()
        self.optimiser = torch.optim.SGD(
            self.student.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4
        )
        self.loader = DataLoader(
            FieldImages(data.train, field_transform(data)),
            batch_size=BATCH,
            shuffle=True,
            num_workers=workers,
        )
        self.meters: list[list[float]] = []
        self._steps = self._train()

    def run(self, steps: int) -> None:
        """Take some steps; the workers of an epoch are running from its first one on."""
        for _ in range(steps):
            next(self._steps)

    def _train(self) -> Iterator[None]:
        while True:
            for images, targets, _ in self.loader:
                self._step(images.to(self.device), targets.to(self.device))
                yield

    def _step(self, images: Tensor, targets: Tensor) -> None:
        logits = self.student(images)
        with torch.no_grad():
            teacher_logits = self.teacher(images)
        soft = kl_div(
            log_softmax(logits / TEMPERATURE, dim=1),
            softmax(teacher_logits / TEMPERATURE, dim=1),
            reduction="batchmean",
        )
        loss = GAMMA * cross_entropy(logits, targets) + ALPHA * TEMPERATURE**2 * soft
        self.meters.append([loss.item(), *top_k(logits, targets)])
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()


def best_workers(data: ImageData, device: torch.device, teacher: str, student: str) -> int:
    """The number of DataLoader workers with which this machine takes a step in the least time."""
    seconds: dict[int, float] = {}
    for workers in sorted({0, 1, 2, 4, 8, 16, cores()}):
        if workers <= cores():
            loop = FieldLoop(teacher, student, data, workers, device)
            loop.run(2)
            began = time.perf_counter()
            loop.run(TRIAL_STEPS)
            seconds[workers] = time.perf_counter() - began
    return min(seconds, key=lambda workers: seconds[workers])
