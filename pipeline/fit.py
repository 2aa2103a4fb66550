"""The one training loop: teachers, baselines and students go through it.

A `Trainer` is handed a network, a source of epochs and a loss, and knows nothing else about what it
trains. Its whole state is (network, momentum, epoch, curves): the order of the images, their views and
the learning rate follow from the seed and the epoch, so a run that was stopped ends with the same
weights as one that was not.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.batches import Batch, EpochData, EpochSource, ImageBank, ViewBatches
from pipeline.metrics import nll, top1_accuracy
from pipeline.models.network import Network
from pipeline.params import Above, AtLeast, Between
from pipeline.predict import place, predict_clean
from pipeline.schedules import Schedule
from pipeline.tensors import read_tensors, save_tensors
from pipeline.views import epoch_order

EVALUATION_BATCH = 500

# (student logits [B, C], student features [B, D], batch, progress in epochs) -> scalar, nats
LossFunction = Callable[[Tensor, Tensor, Batch, float], Tensor]


@dataclass(frozen=True, kw_only=True)
class TrainingParams:
    """The recipe of a training run: the section `training` of params.yaml, or a part of it per entry.

    `evaluate_every` is the number of epochs between two looks at the test accuracy (the last epoch is
    always looked at; nothing is selected by it). `precision` is the type of the forward and backward
    passes; weights and losses stay float32.
    """

    epochs: Annotated[int, AtLeast(1)]
    batch_size: Annotated[int, AtLeast(2)]
    learning_rate: Annotated[float, Above(0)]
    momentum: Annotated[float, Between(0, 1)]
    weight_decay: Annotated[float, AtLeast(0)]
    schedule: Schedule
    evaluate_every: Annotated[int, AtLeast(1)] = 1
    precision: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        late = [milestone for milestone in self.schedule.milestones if milestone >= self.epochs]
        if late:
            raise ValueError(
                f"schedule.milestones {late} lie beyond the {self.epochs} epochs of training"
            )


class NonFiniteLossError(RuntimeError):
    """The loss became NaN or infinite; the last good checkpoint is kept."""


@dataclass
class Curves:
    """What happened in each finished epoch; unevaluated epochs hold NaN."""

    learning_rate: list[float] = field(default_factory=list)
    train_loss: list[float] = field(default_factory=list)
    test_top1_accuracy: list[float] = field(default_factory=list)
    test_loss: list[float] = field(default_factory=list)

    def to_csv(self) -> str:
        """One line an epoch: epoch, learning rate, losses (nats) and accuracy (fraction)."""
        names = [f.name for f in dataclasses.fields(self)]
        lines = [",".join(["epoch", *names])]
        for epoch, row in enumerate(zip(*(getattr(self, name) for name in names), strict=True)):
            cells = ["" if math.isnan(value) else f"{value:.7g}" for value in row]
            lines.append(",".join([str(epoch + 1), *cells]))
        return "\n".join(lines) + "\n"


class Trainer:
    """One network in training.

    Args:
        network: moved to the device and to channels-last memory.
        batches: the image bank and labels that batches come from.
        source: epoch number -> that epoch's plan and teacher outputs; called in a thread, one ahead.
        loss: see `LossFunction`; called in float32.
        seed: of the order of the images (the network is initialised by whoever built it).
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
    ) -> None:
        self.device = batches.bank.device
        self.network = place(network, self.device)
        self.batches, self.source, self.loss = batches, source, loss
        self.params, self.seed = params, seed
        self.epoch = 0
        self.images_in_epoch = 0
        self.curves = Curves()
        self.optimiser = torch.optim.SGD(
            self.network.parameters(),
            lr=params.learning_rate,
            momentum=params.momentum,
            weight_decay=params.weight_decay,
        )

    @property
    def steps_per_epoch(self) -> int:
        """Number of steps; the last one takes what is left of the images."""
        return -(-self.batches.count // self.params.batch_size)

    def steps(self, data: EpochData) -> Iterator[Tensor]:
        """Run the current epoch, yielding the loss (a scalar on the device) after each step."""
        self.network.train()
        self.batches.start(data)
        order = epoch_order(self.seed, self.epoch, self.batches.count)
        rows = torch.from_numpy(order).to(self.device)
        self.images_in_epoch = 0
        for step, chosen in enumerate(torch.split(rows, self.params.batch_size)):
            if len(chosen) == 1 and step:
                continue  # a batch of one has no variance to normalise by
            loss = self._step(chosen, self.epoch + step / self.steps_per_epoch)
            self.images_in_epoch += len(chosen)
            yield loss

    def _step(self, rows: Tensor, progress: float) -> Tensor:
        multiplier = self.params.schedule.multiplier(progress, self.params.epochs)
        for group in self.optimiser.param_groups:
            group["lr"] = self.params.learning_rate * multiplier
        batch = self.batches.batch(rows)
        lower = self.params.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=lower):
            logits, features = self.network.forward_features(batch.images)
        loss = self.loss(logits.float(), features.float(), batch, progress)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        return loss.detach()

    def finish_epoch(self, losses: list[Tensor], test: "TestSet") -> None:
        """Record the epoch; raises NonFiniteLossError, naming the step, where a loss was not finite."""
        values = torch.stack(losses).double().cpu().numpy()
        self._check_finite(values)
        self.epoch += 1
        self.images_in_epoch = 0
        last = self.epoch == self.params.epochs
        accuracy, loss = math.nan, math.nan
        if last or self.epoch % self.params.evaluate_every == 0:
            accuracy, loss = test.evaluate(self.network)
        self.curves.learning_rate.append(self.optimiser.param_groups[0]["lr"])
        self.curves.train_loss.append(float(values.mean()))
        self.curves.test_top1_accuracy.append(accuracy)
        self.curves.test_loss.append(loss)

    def _check_finite(self, losses: NDArray[np.float64]) -> None:
        bad = np.flatnonzero(~np.isfinite(losses))
        state = self.network.state_dict().values()
        if len(bad):
            what, step = f"loss became {losses[bad[0]]}", bad[0] + 1
        elif not all(bool(tensor.isfinite().all()) for tensor in state):
            # No later step has seen them yet, but a checkpoint of them would be worth nothing.
            what, step = "weights became infinite or NaN", len(losses)
        else:
            return
        raise NonFiniteLossError(
            f"the {what} in epoch {self.epoch + 1}, step {step} of {self.steps_per_epoch}; lower "
            "training.learning_rate (the last good checkpoint is kept, and a run with the same "
            "parameters goes on from there)"
        )

    def save(self, path: Path) -> None:
        """Write the whole state to a safetensors file, atomically."""
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        for name, parameter in self.network.named_parameters():
            momentum = self.optimiser.state.get(parameter, {}).get("momentum_buffer")
            if momentum is not None:
                tensors[f"momentum.{name}"] = momentum
        curves = json.dumps(dataclasses.asdict(self.curves))
        save_tensors(tensors, path, {"epoch": str(self.epoch), "curves": curves})

    def load(self, path: Path) -> None:
        """Go on from a file that `save` wrote."""
        tensors, metadata = read_tensors(path)
        state = _strip(tensors, "network.")
        self.network.load_state_dict(state)
        momentum = _strip(tensors, "momentum.")
        for name, parameter in self.network.named_parameters():
            if name in momentum:
                buffer = torch.empty_like(parameter).copy_(momentum[name])
                self.optimiser.state[parameter]["momentum_buffer"] = buffer
        self.epoch = int(metadata["epoch"])
        self.curves = Curves(**json.loads(metadata["curves"]))


def _strip(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


@dataclass(frozen=True)
class TestSet:
    """The images that accuracy is measured on: an unaugmented bank and labels i4 [N]."""

    __test__ = False  # not a test case, whatever pytest thinks of the name

    bank: ImageBank
    labels: NDArray[np.int32]

    def evaluate(self, network: Network) -> tuple[float, float]:
        """Top-1 accuracy (fraction) and negative log-likelihood (nats, mean)."""
        logits, _ = predict_clean(network, self.bank, EVALUATION_BATCH)
        if not np.isfinite(logits).all():
            raise NonFiniteLossError("the network's logits on the test set are not finite")
        return top1_accuracy(logits, self.labels), nll(logits, self.labels)


def fit(
    trainer: Trainer,
    test: TestSet,
    *,
    checkpoint: Path | None = None,
    on_step: Callable[[Trainer, Tensor], None] = lambda trainer, loss: None,
) -> Curves:
    """Train until the last epoch and return the curves.

    Args:
        checkpoint: file that is written after every epoch and gone on from where it exists.
        on_step: called after each step with its loss (reading it waits for the device: do it rarely).

    Raises NonFiniteLossError where the loss stops being a number.
    """
    if checkpoint is not None and checkpoint.exists():
        trainer.load(checkpoint)
    with ThreadPoolExecutor(1) as reader:
        ahead: Future[EpochData] = reader.submit(trainer.source, trainer.epoch)
        while trainer.epoch < trainer.params.epochs:
            data = ahead.result()
            if trainer.epoch + 1 < trainer.params.epochs:
                ahead = reader.submit(trainer.source, trainer.epoch + 1)
            losses: list[Tensor] = []
            for loss in trainer.steps(data):
                losses.append(loss)
                on_step(trainer, loss)
            trainer.finish_epoch(losses, test)
            if checkpoint is not None:
                trainer.save(checkpoint)
    return trainer.curves
