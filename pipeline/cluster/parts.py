"""What a worker does of a dump: a part of a group, which is a view, a clean split or the measured error."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipeline.cluster.tasks import Fetch
from pipeline.cluster.worker import Send, Site, check_data, counted, streamed
from pipeline.core.dataset import ImageData
from pipeline.core.errors import DecantError
from pipeline.dump.dump import LocalAnswers, Outputs
from pipeline.dump.params import Precision
from pipeline.dump.ready import ready
from pipeline.models.network import Network
from pipeline.models.registry import build, own_code_sha256
from pipeline.models.weights import weights_digest
from pipeline.store.format.manifest import Header
from pipeline.views.predict import place

Part = int | Literal["train", "test", "error"]  # the number of a view, or what is named

MOST_KEPT = 2  # groups whose networks and images a process keeps: those of one dump at a time


@dataclass(frozen=True)
class Counted:
    """How many images of a part are done."""

    images: int


@dataclass(frozen=True)
class Answered:
    """A part: logits f2 [N, C] and features f2 [N, D] (None: not asked for), or the measured error."""

    logits: NDArray[np.float16] | None = field(default=None, repr=False)
    features: NDArray[np.float16] | None = field(default=None, repr=False)
    error: Mapping[str, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A group of a dump, as all its parts are told of it.

    `key` tells it from all others; `weights_sha256` is the digest of the teacher's weights, `own_network`
    that of the user's code, if the network is the user's own.
    """

    key: str
    network: str
    own_network: str | None
    weights_sha256: str
    precision: Precision
    header: Header
    features: bool
    site: Site


def answer_part(
    fetch: Fetch, asked: Asked, weights: Mapping[str, Tensor], data: ImageData, part: Part
) -> Iterator[Any]:
    """Compute a part; yields Counted, Answered, Note, Beat and Fault."""

    def work(send: Send) -> None:
        asked.site.set_up(send)
        group = _group(asked.key)
        group.open(asked, weights, data, send)
        send(group.answer(part, send))

    yield from streamed(work)


class _Group:
    """The networks and images of a group in this process."""

    answers: LocalAnswers | None = None

    def open(
        self, asked: Asked, weights: Mapping[str, Tensor], data: ImageData, send: Send
    ) -> None:
        """Build what is not there yet. Raises DecantError where the weights are not the teacher's."""
        if self.answers is not None:
            return
        check_data(data)
        self.asked = asked
        self._weights, self._data, self._device = weights, data, asked.site.set_up(send)
        exact = self._exact
        size = data.train.images.shape[1:3]
        lower = asked.header.precision == asked.precision
        network = ready(self._network, size, asked.precision) if lower else exact
        self.answers = LocalAnswers(network, asked.header, data, self._device, exact)

    def answer(self, part: Part, send: Send) -> Answered:
        """What the teacher says to a part."""
        assert self.answers is not None, "open first"
        if part == "error":
            return Answered(error=self.answers.error())
        if isinstance(part, str):
            ((_, outputs),) = self.answers.splits([part])
            return self._halves(outputs)
        total = len(self._data.train.labels)
        ((_, outputs),) = self.answers.views([part], counted(total, send, Counted))
        return self._halves(outputs)

    def _halves(self, outputs: Outputs) -> Answered:
        """As stores have them; what overflows becomes infinite, which the writer refuses."""
        logits, features = outputs
        with np.errstate(over="ignore"):
            halves = logits.astype(np.float16)
            if not self.asked.features or features is None:
                return Answered(halves)
            return Answered(halves, features.astype(np.float16))

    @cached_property
    def _exact(self) -> Network:
        return ready(self._network, self._data.train.images.shape[1:3], "float32")

    @cached_property
    def _network(self) -> Network:
        if own_code_sha256(self.asked.network) != self.asked.own_network:
            raise DecantError(
                f"the code of {self.asked.network} here is not the head's: install the same package on both; "
                "files below own/ that git ignores are not sent"
            )
        network = build(self.asked.network, len(self._data.class_names))
        network.load_state_dict(dict(self._weights))
        if weights_digest(network) != self.asked.weights_sha256:
            raise DecantError("the teacher's weights were damaged on their way; run it again")
        return place(network, self._device)


@lru_cache(MOST_KEPT)
def _group(key: str) -> _Group:
    return _Group()
