"""One network in training: its state, its steps, its curves.

Teachers, baselines and students are all trained by a `Trainer`, which gets a network, a source of epochs
and a loss. Its whole state is (network, momentum, epoch, curves). The order of the images, their views, the
learning rate, and what a network or a loss draws from torch's generators (dropout, say) follow from the seed,
the epoch and the step: an interrupted training ends with the same weights as one that was not interrupted,
and so does one beside others.

A step reads and writes memory that stays in place (`steps`, `pipeline.views.batches`) and never waits for
the device. On a GPU it is replayed as a CUDA graph (`graphs`).
"""

import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.models.bfloat16 import fast_bfloat16
from pipeline.models.network import Network
from pipeline.results.metrics import nll, top1_accuracy
from pipeline.results.tensors import read_tensors, save_tensors
from pipeline.training.graphs import Snapshot, StepPlayer, Warn, recorder_for, warn
from pipeline.training.non_finite import NonFiniteLossError
from pipeline.training.norms import settle, with_statistics
from pipeline.training.params import TrainingParams
from pipeline.training.ranks import ALONE, Ranks
from pipeline.training.steps import (
    NormCounters,
    StepTables,
    batch_sizes,
    momentum_buffers,
    seed_draws,
    sgd,
    step_seeds,
)
from pipeline.views.batches import (
    Batch,
    EpochData,
    EpochSource,
    ImageBank,
    StagedEpoch,
    ViewBatches,
)
from pipeline.views.plans import epoch_order
from pipeline.views.predict import place, predict_clean

# (student logits [B, C], student features [B, D], batch, progress in epochs []) -> scalar, nats
LossFunction = Callable[[Tensor, Tensor, Batch, Tensor], Tensor]


@dataclass
class Curves:
    """One value per finished epoch; NaN where the epoch was not evaluated.

    >>> curves = Curves([0.1, 0.05], [1.5, 1.25], [math.nan, 0.75], [math.nan, 0.875])
    >>> print(curves.to_csv(), end="")
    epoch,learning_rate,train_loss,test_top1_accuracy,test_loss
    1,0.1,1.5,,
    2,0.05,1.25,0.75,0.875
    """

    learning_rate: list[float] = field(default_factory=list)
    train_loss: list[float] = field(default_factory=list)
    test_top1_accuracy: list[float] = field(default_factory=list)
    test_loss: list[float] = field(default_factory=list)

    def add(self, *values: float) -> None:
        """Add an epoch's values, in the order of the attributes."""
        for f, value in zip(dataclasses.fields(self), values, strict=True):
            getattr(self, f.name).append(value)

    def rows(self) -> Iterator[dict[str, float]]:
        """The values of each epoch, by name."""
        names = [f.name for f in dataclasses.fields(self)]
        for values in zip(*(getattr(self, name) for name in names), strict=True):
            yield dict(zip(names, values, strict=True))

    def to_csv(self) -> str:
        """One line per epoch: epoch, learning rate, losses (nats) and accuracy (fraction)."""
        lines = [",".join(["epoch", *(f.name for f in dataclasses.fields(self))])]
        for epoch, row in enumerate(self.rows()):
            cells = ["" if math.isnan(value) else f"{value:.7g}" for value in row.values()]
            lines.append(",".join([str(epoch + 1), *cells]))
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class TestSet:
    """The images that accuracy is measured on: an unaugmented bank and labels i4 [N]."""

    __test__ = False  # pytest collects classes of this name otherwise

    bank: ImageBank
    labels: NDArray[np.int32]

    def evaluate(self, network: Network) -> tuple[float, float]:
        """Top-1 accuracy (fraction) and negative log-likelihood (nats, mean over the images)."""
        logits, _ = predict_clean(network, self.bank)
        if not np.isfinite(logits).all():
            raise NonFiniteLossError(
                "the network's logits on the test set are not finite; lower training.learning_rate"
            )
        return top1_accuracy(logits, self.labels), nll(logits, self.labels)


class Trainer:
    """One network in training.

    Args:
        network: moved to the device and to channels-last memory.
        batches: the image bank and labels that batches come from.
        source: epoch number -> that epoch's plan and teacher outputs; called in a thread, one epoch ahead.
        loss: see `LossFunction`; computed in float32.
        seed: of the order of the images and of what steps draw (whoever built the network has initialised
            it).
        graph: replay steps as CUDA graphs on a GPU; if False, or where steps cannot be recorded, run
            one operation at a time.
        warn: receives the reason why steps cannot be recorded.
        ranks: the processes that train this network; `batches` make this one's part (`PartBatches`).
    """

    def __init__(
        self,
        network: Network,
        batches: ViewBatches,
        source: EpochSource,
        loss: LossFunction,
        params: TrainingParams,
        *,
        seed: int,
        graph: bool = True,
        warn: Warn = warn,
        ranks: Ranks = ALONE,
    ) -> None:
        self._began = time.monotonic()
        self.device, self.ranks = batches.bank.device, ranks
        network = with_statistics(network, params.batch_statistics, ranks, self.device)
        self.network = place(network, self.device)
        self.batches, self.source, self.loss = batches, source, loss
        self.params, self.seed = params, seed
        self.sizes = ranks.sizes(batch_sizes(batches.count, params.batch_size))
        self.steps_per_epoch = -(-batches.count // params.batch_size)
        self.epoch = self.steps_in_epoch = self.images_in_epoch = 0
        self.learning_rate = params.learning_rate
        self.curves = Curves()
        self.tables = StepTables(batches.count, self.steps_per_epoch, self.device)
        rate, momentum, decay = self.tables.learning_rate, params.momentum, params.weight_decay
        self.optimiser = sgd(self.network, rate, momentum=momentum, weight_decay=decay)
        self._counters = NormCounters(self.network)
        self._epoch_start: Snapshot | None = None
        recorder = recorder_for(self.device) if graph and ranks.alone else None
        self.player = StepPlayer(self._step, self.step_state, recorder, warn)
        if self.device.type == "cuda":  # steps may run on another stream than this one
            torch.cuda.current_stream(self.device).synchronize()

    @property
    def seconds(self) -> float:
        """Time spent on the training; of one that was interrupted, on its saved epochs and since."""
        return time.monotonic() - self._began

    @property
    def epoch_is_over(self) -> bool:
        """Whether all steps of the current epoch are done (on a GPU: queued)."""
        return self.steps_in_epoch == len(self.sizes)

    def stage(self, epoch: int) -> StagedEpoch:
        """Get an epoch from the source, ready for `steps`; may be called in a thread."""
        return self.batches.stage(self.source(epoch))

    def steps(self, data: EpochData | StagedEpoch) -> Iterator[Tensor]:
        """Train for the current epoch and yield the loss (a scalar on the device) after each step.

        A loss keeps its value until the next epoch begins.
        """
        self.network.train()
        self.batches.start(data)
        self._start_tables()
        self.player.prepare(self.sizes, self.batches.layout)
        self._epoch_start = Snapshot(self.step_state())
        self.images_in_epoch = self.steps_in_epoch = 0
        for step, size in enumerate(self.sizes):
            self.seed_step(step)
            self.player.run(size)
            self.images_in_epoch += size
            self.steps_in_epoch += 1
            yield self.tables.losses[step]
        settle(self.network, self.params.batch_statistics, self.ranks)

    def _start_tables(self) -> None:
        steps, epochs, schedule = self.steps_per_epoch, self.params.epochs, self.params.schedule
        progress = [self.epoch + step / steps for step in range(steps)]
        rates = [self.params.learning_rate * schedule.multiplier(p, epochs) for p in progress]
        self.tables.start(epoch_order(self.seed, self.epoch, self.batches.count), rates, progress)
        self.learning_rate = rates[len(self.sizes) - 1]
        self._step_seeds = step_seeds(self.seed, self.epoch, steps)

    def seed_step(self, step: int) -> None:
        """Seed what a step of the current epoch, from 0, draws from torch's generators."""
        seed_draws(self._step_seeds[step], self.device)

    def _step(self, size: int) -> None:
        rows, progress = self.tables.begin_step(size)
        batch = self.batches.batch(rows)
        logits, features = self.forward(batch)
        loss = self.loss(logits, features, batch, progress)
        try:
            loss.backward()  # type: ignore[no-untyped-call]
            self.ranks.add_gradients(self.network)
            self.optimiser.step()
        finally:
            self.optimiser.zero_grad(set_to_none=True)
        self.tables.end_step(size, loss)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logits and features of a batch in train mode, f4; on several ranks of the parts of all."""
        lower = self.params.precision == "bfloat16"
        with (
            _autocast(self.device, lower),
            fast_bfloat16(self.device, asked=lower),
            self._counters.paused(),
            self.ranks.drawing_apart(self.device),
        ):
            logits, features = self.network.forward_features(batch.images)
        size = len(batch.targets)
        return self.ranks.whole(logits.float(), size), self.ranks.whole(features.float(), size)

    def step_state(self) -> Iterable[Tensor]:
        """Everything that a step changes."""
        yield from self.network.state_dict().values()
        yield from momentum_buffers(self.optimiser, self.network).values()
        yield from self.tables.state()

    def rewind(self) -> None:
        """Put everything that a step changes back to the start of the current epoch."""
        assert self._epoch_start is not None, "no epoch has begun"
        self._epoch_start.restore()

    def epoch_losses(self) -> NDArray[np.float64]:
        """The losses of the current epoch's finished steps, f8 [S], nats; waits for the device."""
        losses = self.tables.losses[: self.steps_in_epoch]
        self.ranks.take_first([losses])  # so that all decide alike what to do about them
        return np.asarray(losses.cpu(), np.float64)

    def finish_epoch(self, test: TestSet) -> None:
        """End the epoch: evaluate where it is time, and add a value to each of the curves."""
        train_loss = float(self.epoch_losses().mean())
        self._counters.advance(self.steps_in_epoch)
        self.epoch += 1
        self.images_in_epoch = self.steps_in_epoch = 0
        accuracy, loss = math.nan, math.nan
        if self.epoch == self.params.epochs or self.epoch % self.params.evaluate_every == 0:
            accuracy, loss = self.ranks.of_first(lambda: test.evaluate(self.network))
        self.curves.add(self.learning_rate, train_loss, accuracy, loss)

    def save(self, path: Path) -> None:
        """Write the whole state to a safetensors file, atomically."""
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        buffers = momentum_buffers(self.optimiser, self.network)
        tensors |= {f"momentum.{name}": buffer for name, buffer in buffers.items()}
        curves = json.dumps(dataclasses.asdict(self.curves))
        metadata = {"epoch": str(self.epoch), "curves": curves, "seconds": str(self.seconds)}
        save_tensors(tensors, path, metadata)

    def load(self, path: Path) -> None:
        """Continue from a file that `save` wrote. Recorded steps stay valid: memory stays in place."""
        tensors, metadata = read_tensors(path)
        self.network.load_state_dict(_strip(tensors, "network."))
        momentum = _strip(tensors, "momentum.")
        for name, buffer in momentum_buffers(self.optimiser, self.network).items():
            buffer.copy_(momentum[name])
        self.epoch = int(metadata["epoch"])
        self._began = time.monotonic() - float(metadata["seconds"])
        self.curves = Curves(**json.loads(metadata["curves"]))


def _autocast(device: torch.device, lower: bool) -> torch.autocast:
    # A recorded step would hold on to weights that autocast has cast and cached.
    return torch.autocast(device.type, torch.bfloat16, enabled=lower, cache_enabled=False)


def _strip(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
