"""Figures of what feeds a step: augmentation and mixup, and the reading of views."""

from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.engine import image_bank, stored
from benchmarks.field import field_transform
from benchmarks.figures import Measured
from benchmarks.setting import BATCH, Setting
from benchmarks.timing import take_turns
from pipeline.views.batches import EpochData, ViewBatches

BATCHES_PER_TURN = (
    64  # of a turn of eight, ours would spend half on what a cache has lost meanwhile
)
READS_PER_TURN = 4


def augmentation_figure(setting: Setting) -> dict[str, Measured]:
    """Normalised, augmented and mixed batches: one process of ours against one of PIL.

    Both sides make batches in which every image is mixed. Ours come straight from a plan: a weight and
    a partner of its own for each image, so two crops are cut for each. PIL's are mixed as the field
    does it, which is less work: one weight a batch and partners from within it, one crop an image.
    `ratio_without_mixup` compares batches that neither side mixes.
    """
    data, shares = setting.data, {"plain": 0.0, "mixed": 1.0}
    bank = image_bank(setting)
    contenders: dict[str, Callable[[], object]] = {
        "pil": PilBatches(setting, mixup=True).run,
        "pil_plain": PilBatches(setting, mixup=False).run,
    }
    for name, share in shares.items():
        batches = ViewBatches(bank, data.train.labels, len(data.class_names))
        batches.start(EpochData(stored(setting.store, share)(0).plan))
        contenders[name] = OwnBatches(batches).run
    found = take_turns(contenders, setting.rounds)
    images = BATCH * BATCHES_PER_TURN
    rates = {f"{name}_images_per_s": images / found.seconds(name) for name in contenders}
    facts = {**rates, "ratio_without_mixup": found.ratio("pil_plain", "plain").median}
    return {"augmentation_vs_pil": Measured.of(found, "pil", "mixed", facts=facts)}


class OwnBatches:
    """Batches straight from the plan."""

    def __init__(self, batches: ViewBatches) -> None:
        self.batches = batches
        order = torch.randperm(batches.count, generator=torch.Generator().manual_seed(0))
        whole = order[: len(order) // BATCH * BATCH].to(batches.bank.device)
        self._rows: Iterator[Tensor] = cycle(whole.view(-1, BATCH))

    def run(self) -> Tensor:
        """Make some batches; returns the last one."""
        for _ in range(BATCHES_PER_TURN):
            images = self.batches.images(next(self._rows))
        return images


class PilBatches:
    """Batches image by image through PIL and torchvision, collated and, with mixup, mixed."""

    def __init__(self, setting: Setting, *, mixup: bool) -> None:
        self.mixup = mixup
        self.images = setting.data.train.images
        self.transform: Any = field_transform(setting.data)
        self._rng = np.random.Generator(np.random.Philox(key=2))

    def run(self) -> Tensor:
        """Make some batches; returns the last one."""
        for _ in range(BATCHES_PER_TURN):
            rows = self._rng.integers(0, len(self.images), BATCH)
            images = torch.stack(
                [self.transform(Image.fromarray(self.images[row])) for row in rows]
            )
            if self.mixup:
                lam = float(self._rng.beta(1.0, 1.0))
                partner = torch.from_numpy(self._rng.permutation(BATCH))
                images = lam * images + (1 - lam) * images[partner]
        return images


def read_figure(setting: Setting) -> dict[str, Measured]:
    """A view's logits from the store (in the page cache) against a copy of as many bytes."""
    group = setting.store.group("plain")
    sources = [group.logits(v) for v in range(group.views)]
    into, copied = np.empty_like(sources[0]), np.empty_like(sources[0])

    def read() -> None:
        for turn in range(READS_PER_TURN):
            group.logits(turn % group.views, into)

    def read_anew() -> None:
        for turn in range(READS_PER_TURN):
            group.logits(turn % group.views)

    def copy() -> None:
        for turn in range(READS_PER_TURN):
            np.copyto(copied, sources[turn % group.views])

    contenders = {"read": read, "read_anew": read_anew, "memcpy": copy}
    found = take_turns(contenders, setting.rounds)
    facts = {
        "view_bytes": into.nbytes,
        **{f"{name}_ms": found.seconds(name) / READS_PER_TURN * 1e3 for name in contenders},
        "ratio_into_new_memory": found.ratio("memcpy", "read_anew").median,
    }
    return {"view_read_vs_memcpy": Measured.of(found, "memcpy", "read", facts=facts)}
