"""The opponent: distillation as the field's code does it, written anew and faithfully.

Images come one by one through PIL and torchvision's transforms from a DataLoader; the teacher runs in
eval mode inside the training loop; all is float32 in NCHW memory; loss and accuracies are read after
every step (as in RepDistiller's `loop.py`, Tian et al., ICLR 2020). It gets the DataLoader workers and
the CPU threads that serve it best on this machine, see `best_crew`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax
from torch.utils.data import DataLoader, Dataset

from benchmarks.setting import BATCH
from benchmarks.teachers import teacher as random_teacher
from benchmarks.timing import fastest, on_threads
from pipeline.core.dataset import ImageData, Split
from pipeline.core.machine import available_cores
from pipeline.models.registry import build
from pipeline.raw.torchvision_compat import torchvision

TEMPERATURE, GAMMA, ALPHA = 4.0, 0.1, 0.9


@dataclass(frozen=True)
class Crew:
    """Processes that load images (0: the training process does), and threads that train."""

    workers: int
    threads: int


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


def best_crew(
    data: ImageData, device: torch.device, teacher: str, student: str, steps: int
) -> Crew:
    """The crew with which this machine takes some steps in the least time."""

    def trial(crew: Crew) -> Callable[[], object]:
        loop = FieldLoop(teacher, student, data, crew.workers, device)
        return on_threads(crew.threads, partial(loop.run, steps))

    return fastest({crew: trial(crew) for crew in possible_crews(available_cores())})


def possible_crews(count: int) -> list[Crew]:
    """What is tried on a machine of so many cores: some workers, and one thread or all."""
    workers = sorted({number for number in (0, 1, 2, 4, 8, 16, count) if number <= count})
    return [Crew(number, threads) for number in workers for threads in sorted({1, count})]
