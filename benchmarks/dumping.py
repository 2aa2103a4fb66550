"""Figures of the dump: the dump as the stage does it, against nothing but the teacher's forward pass."""

import copy
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import torch
from torch import Tensor

from benchmarks.figures import Measured
from benchmarks.setting import AUGMENTATION, Setting, first_images, view_header
from benchmarks.teachers import teacher
from benchmarks.timing import take_turns
from pipeline.core.dataset import ImageData
from pipeline.dump.dump import dump_group
from pipeline.dump.params import DumpParams, MixedViews, PlainViews
from pipeline.dump.ready import ready
from pipeline.models.bfloat16 import has_bfloat16
from pipeline.models.network import Network
from pipeline.views.batches import ImageBank, ViewBatches, clean_epoch
from pipeline.views.params import GROUPS
from pipeline.views.predict import place

DUMPED = "resnet56"
DUMP_BATCH = 256


class Dump:
    """A dump of plain and mixed views, two or more of each; each turn into a fresh folder."""

    def __init__(
        self,
        network: Network,
        data: ImageData,
        setting: Setting,
        *,
        batch_size: int = DUMP_BATCH,
        views: int = 2,
    ) -> None:
        self.network, self.data, self.setting = network, data, setting
        self.params = DumpParams(
            seed=0,
            batch_size=batch_size,
            plain=PlainViews(views=views, draw="random"),
            mixed=MixedViews(views=views, draw="random", alpha=1.0),
        )
        self.images_per_s: dict[str, float] = {}
        self.finish_s: dict[str, float] = {}
        self._folders: list[Path] = []

    def run(self) -> float:
        """Dump; returns the seconds of one view of each group, at the rate that many views have.

        That is timed from the end of the first view to the end of the last: as many views are
        computed meanwhile as are written and synchronised. What is done once for all views of a group
        is no part of it: padding images, drawing plans, and at the end (`finish_s`) the last view's
        writing and the manifest.
        """
        folder = Path(mkdtemp(prefix="dump-", dir=self.setting.folder))
        self._folders.append(folder)
        count = len(self.data.train.labels)
        for group in GROUPS:
            ended: dict[int, float] = {}  # images done at the end of a view -> when

            def tick(done: int, total: int, ended: dict[int, float] = ended) -> None:
                if done % count == 0:
                    self.setting.wait()
                    ended[done] = time.perf_counter()

            header = view_header(group, self.data, self.params.batch_size)
            device = self.setting.device
            dump_group(self.network, header, self.params, self.data, device, folder, tick)
            last = max(ended)
            self.finish_s[group] = time.perf_counter() - ended[last]
            self.images_per_s[group] = (last - count) / (ended[last] - ended[count])
        return sum(count / rate for rate in self.images_per_s.values())

    def delete(self) -> None:
        """Delete what all turns have written."""
        while self._folders:
            shutil.rmtree(self._folders.pop())


class Forward:
    """The teacher's forward pass over as many batches as a dump has, made before."""

    def __init__(self, network: Network, batches: list[Tensor]) -> None:
        self.network, self.batches = network, batches

    @torch.inference_mode()
    def run(self) -> None:
        """All batches, for each group once."""
        for _ in GROUPS:
            for images in self.batches:
                self.network.forward_features(images)


def dump_figures(setting: Setting) -> dict[str, Measured]:
    """The dump of resnet56 against its bare forward pass, and in bfloat16 against eager NCHW.

    The latter is left out where the processor has no bfloat16
    instructions. The bare forward pass is that of the very network that is dumped: folded, channels last.
    """
    data = first_images(setting.data, setting.dump_images)
    eager = teacher(DUMPED, len(data.class_names)).to(setting.device)
    placed, size = place(copy.deepcopy(eager), setting.device), data.train.images.shape[1:3]
    network = ready(placed, size, "float32")
    batches = list(_batches(data, setting))
    dump = Dump(network, data, setting)
    lower = Dump(ready(placed, size, "bfloat16"), data, setting)
    in_lower = has_bfloat16(setting.device)
    contenders = {
        "dump": dump.run,
        **({"dump_bf16": lower.run} if in_lower else {}),
        "forward": Forward(network, batches).run,
        "eager_nchw": Forward(eager, [images.contiguous() for images in batches]).run,
    }
    found = take_turns(contenders, setting.rounds, setting.wait)
    for each in (dump, lower):
        each.delete()
    images = len(GROUPS) * len(data.train.labels)
    rates = {f"{name}_images_per_s": images / found.seconds(name) for name in contenders}
    facts = {
        "network": DUMPED,
        "batch_size": DUMP_BATCH,
        **rates,
        "finish_ms": {group: seconds * 1e3 for group, seconds in dump.finish_s.items()},
    }
    figures = {
        "dump_vs_forward": Measured.of(found, "forward", "dump", processor_time=False, facts=facts)
    }
    if in_lower:
        figures["dump_bf16_vs_eager_float32"] = Measured.of(
            found, "eager_nchw", "dump_bf16", processor_time=False, facts=facts
        )
    return figures


def _batches(data: ImageData, setting: Setting) -> Iterator[Tensor]:
    """All images as they are, f4 [B, 3, H, W], channels last in memory."""
    bank = ImageBank(data.train.images, data.mean, data.std, AUGMENTATION, setting.device)
    batches = ViewBatches(bank, data.train.labels, len(data.class_names))
    batches.start(clean_epoch(bank.count, bank.pad))
    for rows in torch.arange(bank.count, device=setting.device).split(DUMP_BATCH):  # type: ignore[no-untyped-call]
        yield batches.images(rows)
