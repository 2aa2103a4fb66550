"""What a worker does of a training: a share of the replicates, whose files go to the head as they come."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.cluster.stores import received_job
from pipeline.cluster.tasks import Fetch, Note
from pipeline.cluster.worker import Send, Site, check_data, scratch_folder, streamed
from pipeline.core.dataset import ImageData
from pipeline.core.errors import DecantError
from pipeline.core.files import durable_write
from pipeline.core.notes import METRICS
from pipeline.results.record import RECORD
from pipeline.store.remote.cache import Cache
from pipeline.training.jobs import Replicate
from pipeline.training.outs import CHECKPOINT
from pipeline.training.replicates import training_function
from pipeline.training.together import MOST_AT_ONCE

# What is sent while a replicate is trained. The lines of a checkpoint's epoch come after it.
GROWING = (METRICS, CHECKPOINT)


@dataclass(frozen=True)
class NewFile:
    """A file of a replicate, by the replicate's place in the order: one of `GROWING`, or a result."""

    index: int
    name: str
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class Done:
    """A replicate has ended, and all its files were sent; `failure`: what a mistake of the user's was."""

    index: int
    failure: str | None


@dataclass(frozen=True, kw_only=True)
class Order:
    """Replicates to be trained, with jobs as `sent_job` has them.

    `facts`: what each depends on, as the head has it; `begun`: the files of those that were begun, by place.
    """

    replicates: tuple[Replicate, ...]
    facts: tuple[Mapping[str, Any], ...]
    begun: Mapping[int, Mapping[str, bytes]] = field(repr=False)
    site: Site
    graph: bool


def train_share(fetch: Fetch, order: Order, data: ImageData) -> Iterator[Any]:
    """Train an order's replicates; yields Tick, Note, NewFile, Done, Beat and Fault."""
    with scratch_folder() as folder:
        share = _Share(fetch, order, data, folder)
        yield from streamed(share.train, share.new_files)


class _Share:
    def __init__(self, fetch: Fetch, order: Order, data: ImageData, folder: Path) -> None:
        self.fetch, self.order, self.data = fetch, order, data
        works = [folder / str(index) for index in range(len(order.replicates))]
        self.replicates = [
            replace(r, work=work) for r, work in zip(order.replicates, works, strict=True)
        ]
        self.sent: dict[Path, int] = {}  # when what was sent last of a file was written

    def train(self, send: Send) -> None:
        """Train all replicates, and send what they leave."""
        order, machine = self.order, self.order.site.machine
        device = order.site.set_up(send)
        check_data(self.data)
        cache = Cache.of(machine)
        replicates = [
            replace(r, job=received_job(r.job, self.fetch, cache)) for r in self.replicates
        ]
        for index, replicate in enumerate(replicates):
            _check_same(replicate, order.facts[index], self.data)
            replicate.folder.mkdir(parents=True)
            for name, content in order.begun.get(index, {}).items():
                path = replicate.folder / name
                durable_write(path, content)
                self.sent[path] = path.stat().st_mtime_ns
        train = training_function(
            replicates, self.data, device, lambda text: send(Note(text)), graph=order.graph
        )

        def ended(index: int, failure: str | None) -> None:
            for message in self._left(index):
                send(message)
            send(Done(index, failure and self._as_on_head(index, failure)))

        at_once = 1 if device.type == "cpu" else machine.streams(MOST_AT_ONCE)
        train(range(len(replicates)), send, ended, at_once)

    def new_files(self) -> Iterator[NewFile]:
        """Those of `GROWING` that were written since this was called last."""
        for index, replicate in enumerate(self.replicates):
            for path in (replicate.folder / name for name in GROWING):
                with contextlib.suppress(FileNotFoundError):  # none yet, or no longer
                    written = path.stat().st_mtime_ns
                    if self.sent.get(path) != written:
                        self.sent[path] = written
                        yield NewFile(index, path.name, path.read_bytes())

    def _left(self, index: int) -> Iterator[NewFile]:
        """The files of a replicate that has ended, its record last: with it, it counts as trained."""
        files = [path for path in self.replicates[index].folder.iterdir() if path.is_file()]
        for path in sorted(files, key=lambda path: (path.name == RECORD, path.name)):
            if path.name != CHECKPOINT:
                yield NewFile(index, path.name, path.read_bytes())

    def _as_on_head(self, index: int, text: str) -> str:
        """A message, with the folder in which the files are in the end."""
        ours, theirs = self.replicates[index].folder, self.order.replicates[index].folder
        return text.replace(str(ours), str(theirs))


def _check_same(replicate: Replicate, facts: Mapping[str, Any], data: ImageData) -> None:
    """Raise DecantError where what is to be trained here is not what the head's results will be filed under.

    The user's own code may come from an installed package, which is not sent.
    """
    ours = replicate.job.key_facts(data)
    if others := [name for name in facts if ours[name] != facts[name]]:
        raise DecantError(
            f"{replicate.label}: not the head's here: {', '.join(others)}. Install the same packages on "
            "both; files below own/ that git ignores are not sent"
        )
