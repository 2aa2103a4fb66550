"""Trainings on a cluster, seen from the head: shares of replicates, and their files in the work folder.

The work folder is the truth: every checkpoint goes there as it is written and the record last, so that a
local run and a cluster go on from each other.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from pipeline.cluster.share import GROWING, Done, NewFile, Order, train_share
from pipeline.cluster.stores import sent_job
from pipeline.cluster.tasks import Engine, Follower
from pipeline.cluster.worker import Site
from pipeline.core.dataset import ImageData
from pipeline.core.files import durable_write
from pipeline.core.machine import Machine
from pipeline.core.notes import METRICS
from pipeline.core.progress import Display, Report, Tick
from pipeline.training.jobs import Replicate
from pipeline.training.outs import CHECKPOINT
from pipeline.training.together import MOST_AT_ONCE

Ended = Callable[[int, str | None], None]


def train_on(
    engine: Engine,
    replicates: Sequence[Replicate],
    data: ImageData,
    device: torch.device,
    machine: Machine,
    display: Display,
    ended: Ended,
    *,
    graph: bool = True,
) -> None:
    """Train replicates, in their order, on a cluster; see `run_replicates`.

    `ended` is called with the index of each that has ended, and what went wrong or None. Raises
    WorkerError for a fault, and where workers are lost again and again.
    """
    order = partial(Order, site=Site.here(machine), graph=graph)
    images = engine.share(data)
    most = 1 if device.type == "cpu" else machine.streams(MOST_AT_ONCE)
    size = max(1, min(most, math.ceil(len(replicates) / max(1, engine.places()))))
    indices = range(len(replicates))
    shares = [
        _Share(
            {i: replicates[i] for i in indices[at : at + size]}, order, data, images, display, ended
        )
        for at in indices[::size]
    ]
    Follower(engine, display.tell).run(shares)


def train_there(
    replicates: Sequence[Replicate],
    data: ImageData,
    device: torch.device,
    machine: Machine,
    display: Display,
    expected: Mapping[str, float],
    ended: Ended,
    *,
    graph: bool,
) -> None:
    """Train replicates on the cluster that `machine` names; `expected`: what each costs, by its label."""
    from pipeline.cluster.on_ray import session  # needs the extra `ray`

    engine = session(machine)
    at_once = 1 if device.type == "cpu" else machine.streams(MOST_AT_ONCE)
    display.expect(expected, at_once * max(1, engine.places()))
    train_on(engine, replicates, data, device, machine, display, ended, graph=graph)


class _Share:
    """Replicates that are trained on one node; `left`: those that have not ended, by their index."""

    def __init__(
        self,
        left: dict[int, Replicate],
        order: Callable[..., Order],
        data: ImageData,
        images: Any,
        display: Display,
        ended: Ended,
    ) -> None:
        self.left, self.order, self.data, self.images = left, order, data, images
        self.report: Report = display.show
        self.ended = ended

    @property
    def label(self) -> str:
        """Its first replicate, and how many more there are."""
        first, *others = self.left.values()
        return first.label + (f" and {len(others)} more" if others else "")

    def start(self, engine: Engine) -> Any:
        """Send out what is left of it, with what is here of those that were begun."""
        self.sent = list(self.left)
        replicates = self.left.values()
        order = self.order(
            replicates=tuple(replace(r, job=sent_job(r.job)) for r in replicates),
            facts=tuple(r.job.key_facts(self.data) for r in replicates),
            begun={
                n: _growing(r) for n, r in enumerate(replicates) if (r.folder / CHECKPOINT).exists()
            },
        )
        return engine.start(train_share, order, self.images)

    def take(self, message: Any) -> bool:
        """Keep a file, show progress, or note that a replicate has ended."""
        match message:
            case NewFile(number, name, data):
                durable_write(self.left[self.sent[number]].folder / name, data)
                return name != METRICS  # which spares no work
            case Done(number, failure):
                index = self.sent[number]
                replicate = self.left.pop(index)
                if failure is None:
                    (replicate.folder / CHECKPOINT).unlink(missing_ok=True)
                self.ended(index, failure)
            case Tick():
                self.report(message)
                return False
            case _:
                raise AssertionError(message)
        return True


def _growing(replicate: Replicate) -> dict[str, bytes]:
    """The files of a training that goes on: its checkpoint, and what is known of its epochs."""
    paths = [replicate.folder / name for name in GROWING]
    return {path.name: path.read_bytes() for path in paths if path.exists()}
