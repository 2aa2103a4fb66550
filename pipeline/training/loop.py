"""The one training loop: teachers, baselines and students all go through it.

`fit` trains one network; `fit_stepwise` does the same and pauses after each step, so that `together` can
train several networks at the same time.
"""

import math
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from pipeline.core.notes import METRICS, log_epochs
from pipeline.training.non_finite import BadStep, NonFiniteLossError, copies
from pipeline.training.steps import momentum_buffers
from pipeline.training.trainer import Curves, TestSet, Trainer

OnStep = Callable[[Trainer, Tensor], None]


def fit(
    trainer: Trainer,
    test: TestSet,
    *,
    checkpoint: Path | None = None,
    on_step: OnStep = lambda trainer, loss: None,
) -> Curves:
    """Train until the last epoch and return the curves.

    Args:
        checkpoint: file that is written after every epoch; training continues from it where it exists.
            The values of each epoch go into `metrics.jsonl` beside it.
            Of several ranks the first alone has one. A step whose loss is NaN or infinite is kept beside it
            (`pipeline.training.non_finite`).
        on_step: called after each step with its loss (reading it waits for the device: do it rarely).

    Raises NonFiniteLossError where a loss or a weight becomes NaN or infinite.
    """
    for _ in fit_stepwise(trainer, test, checkpoint=checkpoint, on_step=on_step):
        pass
    return trainer.curves


def fit_stepwise(
    trainer: Trainer,
    test: TestSet,
    *,
    checkpoint: Path | None = None,
    on_step: OnStep = lambda trainer, loss: None,
) -> Generator[None, None, None]:
    """`fit` as a generator that pauses after each step."""
    if checkpoint is not None and checkpoint.exists():
        trainer.load(checkpoint)
    take_first(trainer)
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
                check_finite(trainer)
                trainer.finish_epoch(test)
            except NonFiniteLossError as error:
                raise error.explained(None if checkpoint is None else checkpoint.parent) from None
            if checkpoint is not None:
                trainer.save(checkpoint)
                metrics = checkpoint.with_name(METRICS)
                log_epochs(metrics, trainer.params.epochs, list(trainer.curves.rows()))


def take_first(trainer: Trainer) -> None:
    """Start from the state of rank 0, which has loaded its checkpoint where there is one."""
    ranks = trainer.ranks
    trainer.epoch, trainer.curves = ranks.of_first(lambda: (trainer.epoch, trainer.curves))
    ranks.take_first(trainer.step_state())


def check_finite(trainer: Trainer) -> None:
    """Raise NonFiniteLossError, naming the step, where the epoch left a loss or weight NaN or infinite."""
    losses = trainer.epoch_losses()
    bad_steps = np.flatnonzero(~np.isfinite(losses))
    weights = [t for t in trainer.network.state_dict().values() if t.is_floating_point()]
    if len(bad_steps):
        step = int(bad_steps[0])
        problem = f"loss became {losses[step]}"
    elif not bool(get_total_norm(weights, math.inf).isfinite()):
        # No later step has used these weights yet, but a checkpoint of them would be worthless.
        step, problem = len(losses) - 1, "weights became infinite or NaN"
    else:
        return
    raise NonFiniteLossError(
        f"the {problem} in epoch {trainer.epoch + 1}, step {step + 1} of {trainer.steps_per_epoch}",
        replay_step(trainer, step, problem),
    )


@torch.no_grad()
def replay_step(trainer: Trainer, step: int, problem: str) -> BadStep:
    """Go back to the start of the epoch, repeat its steps up to one (from 0), and record that one."""
    trainer.rewind()
    for earlier, size in enumerate(trainer.sizes[:step]):
        trainer.seed_step(earlier)
        with torch.enable_grad():
            trainer.player.run(size)
    network, optimiser = trainer.network, trainer.optimiser
    state = copies("network.", network.state_dict())
    state |= copies("momentum.", momentum_buffers(optimiser, network))
    rows, progress = trainer.tables.begin_step(trainer.sizes[step])
    batch = trainer.batches.batch(rows)
    network.train()
    trainer.seed_step(step)
    logits, features = trainer.forward(batch)
    loss = trainer.loss(logits, features, batch, progress).detach()
    inputs = {**vars(batch), "rows": rows, **trainer.batches.views(rows)}
    outputs = {"student.logits": logits, "student.features": features, "loss": loss}
    metadata = {
        "what": problem,
        "epoch": str(trainer.epoch + 1),
        "step": str(step + 1),
        "learning_rate": str(float(trainer.tables.learning_rate)),
        "seed": str(trainer.seed),
        **({} if trainer.ranks.alone else {"ranks": str(trainer.ranks.count)}),
    }
    return BadStep(state | copies("batch.", inputs) | copies("", outputs), metadata)
