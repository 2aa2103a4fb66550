"""The one training loop: teachers, baselines and students go through it.

A `Trainer` is handed a network, a source of epochs and a loss, and knows nothing else about what it
trains. Its whole state is (network, momentum, epoch, curves): the order of the images, their views and
the learning rate follow from the seed and the epoch, so a run that was stopped ends with the same
weights as one that was not.

A step acts on fixed memory (`steps`, `batches`) and never waits for the device; on a GPU it is replayed
as a CUDA graph (`graphs`). `together` trains several networks at the same time.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils import get_total_norm

from pipeline.batches import Batch, EpochData, EpochSource, ImageBank, StagedEpoch, ViewBatches
from pipeline.curves import Curves
from pipeline.graphs import Snapshot, StepPlayer, Warn, recorder_for, warn
from pipeline.metrics import nll, top1_accuracy
from pipeline.models.network import Network
from pipeline.non_finite import BadStep, NonFiniteLossError, copies
from pipeline.params import Above, AtLeast, Between
from pipeline.predict import place, predict_clean
from pipeline.schedules import Schedule
from pipeline.steps import NormCounters, StepTables, sgd
from pipeline.tensors import read_tensors, save_tensors
from pipeline.views import epoch_order

EVALUATION_BATCH = 500

# (student logits [B, C], student features [B, D], batch, progress in epochs []) -> scalar, nats
LossFunction = Callable[[Tensor, Tensor, Batch, Tensor], Tensor]
OnStep = Callable[["Trainer", Tensor], None]


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


def source_key(entry: str, overrides: Mapping[str, Any], name: str) -> str:
    """The key of params.yaml that a value of an entry's recipe comes from: its own, or the shared one.

    Args:
        entry: its path, such as students.kd; overrides: its own `training`.
    """
    return f"{entry}.training.{name}" if name in overrides else f"training.{name}"


class Trainer:
    """One network in training.

    Args:
        network: moved to the device and to channels-last memory.
        batches: the image bank and labels that batches come from.
        source: epoch number -> that epoch's plan and teacher outputs; called in a thread, one ahead.
        loss: see `LossFunction`; called in float32.
        seed: of the order of the images (the network is initialised by whoever built it).
        graph: replay steps as CUDA graphs on a GPU; where False, or where that is not possible, they
            are run one operation at a time.
        warn: told why that is not possible.
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
    ) -> None:
        self.device = batches.bank.device
        self.network = place(network, self.device)
        self.batches, self.source, self.loss = batches, source, loss
        self.params, self.seed = params, seed
        self.epoch = 0
        self.images_in_epoch = 0
        self.steps_in_epoch = 0
        self.learning_rate = params.learning_rate
        self.curves = Curves()
        self.tables = StepTables(batches.count, self.steps_per_epoch, self.device)
        self.optimiser = sgd(
            self.network,
            self.tables.learning_rate,
            momentum=params.momentum,
            weight_decay=params.weight_decay,
        )
        self._counters = NormCounters(self.network)
        self._epoch_start: Snapshot | None = None
        recorder = recorder_for(self.device) if graph else None
        self.player = StepPlayer(self._step, self._step_state, recorder, warn)
        if self.device.type == "cuda":  # all of it is there, whichever stream steps run on
            torch.cuda.current_stream(self.device).synchronize()

    @property
    def steps_per_epoch(self) -> int:
        """Number of steps; the last one takes what is left of the images."""
        return -(-self.batches.count // self.params.batch_size)

    @property
    def sizes(self) -> list[int]:
        """The batch size of each step of an epoch."""
        whole, rest = divmod(self.batches.count, self.params.batch_size)
        # A batch of one has no variance to normalise by.
        return [self.params.batch_size] * whole + [rest] * (rest > 1 or (rest and not whole))

    @property
    def epoch_is_over(self) -> bool:
        """Whether all steps of the current epoch are done (on a GPU: given to it)."""
        return self.steps_in_epoch == len(self.sizes)

    def stage(self, epoch: int) -> StagedEpoch:
        """Get an epoch from the source, ready for `steps`; may be called in a thread."""
        return self.batches.stage(self.source(epoch))

    def steps(self, data: EpochData | StagedEpoch) -> Iterator[Tensor]:
        """Run the current epoch, yielding the loss (a scalar on the device) after each step.

        A loss stays what it is until the next epoch begins.
        """
        self.network.train()
        self.batches.start(data)
        self._start_tables()
        self.player.prepare(self.sizes, self.batches.layout)
        self._epoch_start = Snapshot(self._step_state())
        self.images_in_epoch = self.steps_in_epoch = 0
        for step, size in enumerate(self.sizes):
            self.player.run(size)
            self.images_in_epoch += size
            self.steps_in_epoch += 1
            yield self.tables.losses[step]

    def _start_tables(self) -> None:
        progress = [
            self.epoch + step / self.steps_per_epoch for step in range(self.steps_per_epoch)
        ]
        multiplier, epochs = self.params.schedule.multiplier, self.params.epochs
        rates = [self.params.learning_rate * multiplier(moment, epochs) for moment in progress]
        order = epoch_order(self.seed, self.epoch, self.batches.count)
        self.tables.start(order, rates, progress)
        self.learning_rate = rates[len(self.sizes) - 1]

    def _step(self, size: int) -> None:
        rows, progress = self.tables.begin_step(size)
        batch = self.batches.batch(rows)
        logits, features = self._forward(batch)
        loss = self.loss(logits, features, batch, progress)
        try:
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimiser.step()
        finally:
            self.optimiser.zero_grad(set_to_none=True)
        self.tables.end_step(size, loss)

    def _forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logits and features of a batch in training, f4."""
        lower = self.params.precision == "bfloat16"
        # Weights that autocast has cast are not kept: a recording would hold on to them.
        autocast = torch.autocast(
            self.device.type, torch.bfloat16, enabled=lower, cache_enabled=False
        )
        with autocast, self._counters.paused():
            logits, features = self.network.forward_features(batch.images)
        return logits.float(), features.float()

    def _step_state(self) -> Iterable[Tensor]:
        """Everything that a step changes."""
        yield from self.network.state_dict().values()
        yield from self._momentum().values()
        yield from self.tables.state()

    def _momentum(self) -> dict[str, Tensor]:
        named = ((k, self.optimiser.state.get(p)) for k, p in self.network.named_parameters())
        return {name: state["momentum_buffer"] for name, state in named if state}

    def finish_epoch(self, test: "TestSet") -> None:
        """Record the epoch; raises NonFiniteLossError, naming the step, where a loss was not finite."""
        values = self.tables.losses[: self.steps_in_epoch].double().cpu().numpy()
        self._check_finite(values)
        self._counters.advance(self.steps_in_epoch)
        self.epoch += 1
        self.images_in_epoch = self.steps_in_epoch = 0
        last = self.epoch == self.params.epochs
        accuracy, loss = math.nan, math.nan
        if last or self.epoch % self.params.evaluate_every == 0:
            accuracy, loss = test.evaluate(self.network)
        self.curves.learning_rate.append(self.learning_rate)
        self.curves.train_loss.append(float(values.mean()))
        self.curves.test_top1_accuracy.append(accuracy)
        self.curves.test_loss.append(loss)

    def _check_finite(self, losses: NDArray[np.float64]) -> None:
        bad = np.flatnonzero(~np.isfinite(losses))
        state = [t for t in self.network.state_dict().values() if t.is_floating_point()]
        if len(bad):
            what, step = f"loss became {losses[bad[0]]}", int(bad[0])
        elif not bool(get_total_norm(state, math.inf).isfinite()):
            # No later step has seen them yet, but a checkpoint of them would be worth nothing.
            what, step = "weights became infinite or NaN", len(losses) - 1
        else:
            return
        raise NonFiniteLossError(
            f"the {what} in epoch {self.epoch + 1}, step {step + 1} of {self.steps_per_epoch}",
            self.again(step, what),
        )

    @torch.no_grad()
    def again(self, step: int, what: str) -> BadStep:
        """Go back to the start of the epoch and forward to a step, and look at that one."""
        assert self._epoch_start is not None
        self._epoch_start.restore()
        for size in self.sizes[:step]:
            with torch.enable_grad():
                self.player.run(size)
        before = copies("network.", self.network.state_dict()) | copies(
            "momentum.", self._momentum()
        )
        rows, progress = self.tables.begin_step(self.sizes[step])
        batch = self.batches.batch(rows)
        self.network.train()
        logits, features = self._forward(batch)
        loss = self.loss(logits, features, batch, progress).detach()
        seen = {**vars(batch), "rows": rows, **self.batches.views(rows)}
        outputs = {"student.logits": logits, "student.features": features, "loss": loss}
        facts = {
            "what": what,
            "epoch": str(self.epoch + 1),
            "step": str(step + 1),
            "learning_rate": str(float(self.tables.learning_rate)),
            "seed": str(self.seed),
        }
        return BadStep(what, before | copies("batch.", seen) | copies("", outputs), facts)

    def save(self, path: Path) -> None:
        """Write the whole state to a safetensors file, atomically."""
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"momentum.{name}": value for name, value in self._momentum().items()}
        curves = json.dumps(dataclasses.asdict(self.curves))
        save_tensors(tensors, path, {"epoch": str(self.epoch), "curves": curves})

    def load(self, path: Path) -> None:
        """Go on from a file that `save` wrote; into the same memory, so recorded steps go on too."""
        tensors, metadata = read_tensors(path)
        self.network.load_state_dict(_strip(tensors, "network."))
        momentum = _strip(tensors, "momentum.")
        for name, buffer in self._momentum().items():
            buffer.copy_(momentum[name])
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
            raise NonFiniteLossError(
                "the network's logits on the test set are not finite; lower training.learning_rate"
            )
        return top1_accuracy(logits, self.labels), nll(logits, self.labels)


def training(
    trainer: Trainer,
    test: TestSet,
    *,
    checkpoint: Path | None = None,
    on_step: OnStep = lambda trainer, loss: None,
) -> Generator[None, None, None]:
    """`fit`, one step at a time: a generator that pauses after each of them."""
    if checkpoint is not None and checkpoint.exists():
        trainer.load(checkpoint)
    epochs = range(trainer.epoch, trainer.params.epochs)
    with ThreadPoolExecutor(1) as reader:
        ahead = [reader.submit(trainer.stage, epoch) for epoch in epochs[:1]]
        for epoch in epochs:
            data = ahead.pop().result()
            if epoch + 1 in epochs:
                ahead.append(reader.submit(trainer.stage, epoch + 1))
            for loss in trainer.steps(data):
                on_step(trainer, loss)
                yield
            try:
                trainer.finish_epoch(test)
            except NonFiniteLossError as error:
                raise error.explained(None if checkpoint is None else checkpoint.parent) from None
            if checkpoint is not None:
                trainer.save(checkpoint)


def fit(
    trainer: Trainer,
    test: TestSet,
    *,
    checkpoint: Path | None = None,
    on_step: OnStep = lambda trainer, loss: None,
) -> Curves:
    """Train until the last epoch and return the curves.

    Args:
        checkpoint: file that is written after every epoch and gone on from where it exists; beside it
            the step is kept whose loss is no number (`pipeline.non_finite`).
        on_step: called after each step with its loss (reading it waits for the device: do it rarely).

    Raises NonFiniteLossError where the loss stops being a number.
    """
    for _ in training(trainer, test, checkpoint=checkpoint, on_step=on_step):
        pass
    return trainer.curves
