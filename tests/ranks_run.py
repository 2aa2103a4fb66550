"""Trainings of tiny networks that a test has torchrun start: `ranks_run.py FOLDER`, or with `late`.

Each rank writes `NAME-RANK.safetensors` (state, and the loss of each step) of each of the `TRAININGS`, and
what it is told where ranks differ, or where another one keeps it waiting.
"""

import datetime
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn.functional import relu

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from conftest import TinyNetwork  # noqa: E402
from training_samples import AUGMENTATION, CPU, PARAMS, Setup, state  # noqa: E402

from pipeline.core.dataset import Split  # noqa: E402
from pipeline.distill.method import DistillationLoss  # noqa: E402
from pipeline.distill.params import Method  # noqa: E402
from pipeline.hard_labels.epochs import DrawnEpochs, hard_label_loss  # noqa: E402
from pipeline.hard_labels.params import Mixup  # noqa: E402
from pipeline.models.network import Network  # noqa: E402
from pipeline.raw.load import DatasetParams, load_raw  # noqa: E402
from pipeline.results.tensors import save_tensors  # noqa: E402
from pipeline.training import ranks as engine  # noqa: E402
from pipeline.training.loop import fit  # noqa: E402
from pipeline.views.batches import EpochData  # noqa: E402

COUNT = 200  # three batches of 64 and one of 8: no multiples of 3


class WithoutNorms(Network):
    """Two convolutions and a classifier: nothing in it looks at other images."""

    min_image_size: ClassVar[int] = 4

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.fc = nn.Linear(16, num_classes)

    @property
    def head(self) -> nn.Linear:
        return self.fc

    def feature_map(self, images):
        return relu(self.conv2(relu(self.conv1(images))))


@dataclass(frozen=True)
class Training:
    network: type[Network] = TinyNetwork
    statistics: str = "synchronised"
    method: Method | None = None

    def trainer(self, ranks=engine.ALONE, network=None):
        """A new trainer of it, of this network where there is one."""
        setup = Setup(few_digits(), network or self.build)
        params = replace(PARAMS, epochs=1, batch_statistics=self.statistics)
        loss = hard_label_loss if self.method is None else DistillationLoss(self.method)
        return setup, setup.trainer(params, loss=loss, source=taught, count=COUNT, ranks=ranks)

    def build(self, num_classes, seed):
        torch.manual_seed(seed)
        return self.network(num_classes)


RELATIONS = Method("rkd", "rkd", {"gamma": 1.0, "distance": 25.0, "angle": 50.0})
TRAININGS = {
    "synchronised": Training(),
    "own": Training(statistics="own"),
    "averaged": Training(statistics="averaged"),
    "without-norms": Training(WithoutNorms),
    "relations": Training(WithoutNorms, method=RELATIONS),
}


def few_digits():
    data = load_raw(
        DatasetParams(name="digits", image_size=16, test_fraction=0.2), Path(), download=False
    )
    train, test = data.train, data.test
    return replace(
        data,
        train=Split(train.images[:COUNT].copy(), train.labels[:COUNT].copy()),
        test=Split(test.images[:100].copy(), test.labels[:100].copy()),
    )


def taught(epoch):
    """An epoch with a random teacher's logits and features, half of it mixed."""
    generator = np.random.default_rng(epoch)
    plan = DrawnEpochs(AUGMENTATION, Mixup(alpha=1.0, share=0.5), 7, COUNT)(epoch).plan
    logits, features = generator.normal(size=(COUNT, 10)), generator.normal(size=(COUNT, 16))
    return EpochData(plan, logits.astype(np.float16), features.astype(np.float16))


def train(name, ranks=engine.ALONE, network=None):
    """The state after an epoch, and the loss of each step."""
    setup, trainer = TRAININGS[name].trainer(ranks, network)
    losses = []
    fit(trainer, setup.test, on_step=lambda _, loss: losses.append(loss.detach().clone()))
    return {**state(trainer), "losses": torch.stack(losses)}


def main(folder):
    with engine.joined(CPU) as ranks:
        for name in TRAININGS:
            save_tensors(train(name, ranks), folder / f"{name}-{ranks.number}.safetensors", {})
        told = ""
        try:
            ranks.check_equal({"rank": ranks.number})
        except engine.RanksError as error:
            told = str(error)
        (folder / f"unequal-{ranks.number}.txt").write_text(told)


def late(folder):
    """The last rank does not answer."""
    engine.TIMEOUT = datetime.timedelta(seconds=3)
    with engine.joined(CPU) as ranks:
        if ranks.number == ranks.count - 1:
            time.sleep(8)
        try:
            ranks.add(torch.ones(3))
        except engine.RanksError as error:
            (folder / f"late-{ranks.number}.txt").write_text(str(error))


if __name__ == "__main__":
    torch.set_num_threads(1)
    (late if "late" in sys.argv else main)(Path(sys.argv[1]))
