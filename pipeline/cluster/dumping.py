"""Dumps on a cluster, seen from the head: the answers of a teacher, whose parts workers compute."""

import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pipeline.cluster.parts import Answered, Asked, Counted, Part, answer_part
from pipeline.cluster.tasks import Engine, Follower
from pipeline.cluster.worker import Site
from pipeline.core.dataset import ImageData
from pipeline.core.machine import Machine
from pipeline.dump.dump import Count, Outputs
from pipeline.dump.params import Precision
from pipeline.models.network import Network
from pipeline.models.registry import own_code_sha256
from pipeline.models.weights import weights_digest
from pipeline.store.format.manifest import Header


class ClusterAnswers:
    """The answers of a teacher (`Answers`), a part a task.

    Args:
        network: the teacher as its weights are, here on the head; `name`: that of its network.
        precision: of the dump; the header's is another one for the clean images.
        features: whether the group has any.
        tell: called with each line about workers that were lost.
    """

    def __init__(
        self,
        engine: Engine,
        network: Network,
        name: str,
        precision: Precision,
        header: Header,
        data: ImageData,
        machine: Machine,
        tell: Callable[[str], None],
        *,
        features: bool,
    ) -> None:
        self.engine, self.tell, self.label = engine, tell, f"{header.teacher.name} {header.group}"
        self.feature_dim = network.feature_dim
        self.asked = Asked(
            key=uuid.uuid4().hex,
            network=name,
            own_network=own_code_sha256(name),
            weights_sha256=weights_digest(network),
            precision=precision,
            header=header,
            features=features,
            site=Site.here(machine),
        )
        self._network, self._data = network, data

    def splits(self, names: Sequence[str]) -> Iterator[tuple[str, Outputs]]:
        """See `Answers`."""
        for name, answer in self._answers(names, lambda images: None):
            yield str(name), outputs_of(answer)

    def views(self, numbers: Sequence[int], count: Count) -> Iterator[tuple[int, Outputs]]:
        """See `Answers`."""
        for v, answer in self._answers(numbers, count):
            yield int(v), outputs_of(answer)

    def error(self) -> dict[str, float]:
        """See `Answers`."""
        ((_, answer),) = self._answers(["error"], lambda images: None)
        assert answer.error is not None
        return dict(answer.error)

    def _answers(self, parts: Sequence[Any], count: Count) -> Iterator[tuple[Part, Answered]]:
        if not parts:
            return
        shared = [self.engine.share(value) for value in self._shared]
        come: deque[tuple[Part, Answered]] = deque()
        tasks = [_Part(part, self.label, self.asked, shared, come, count) for part in parts]
        for _ in Follower(self.engine, self.tell).steps(tasks):
            while come:
                yield come.popleft()

    @property
    def _shared(self) -> tuple[Any, ...]:
        return dict(self._network.state_dict()), self._data


class _Part:
    """One part, computed on one node."""

    def __init__(
        self,
        part: Part,
        group: str,
        asked: Asked,
        shared: Sequence[Any],
        come: deque[tuple[Part, Answered]],
        count: Count,
    ) -> None:
        self.part, self.asked, self.shared, self.come = part, asked, shared, come
        self.label = f"{group} view {part}" if isinstance(part, int) else f"{group} {part}"
        self.count, self.images = count, 0

    def start(self, engine: Engine) -> Any:
        """Send it out."""
        if self.images:
            self.count(-self.images)
        self.images = 0
        return engine.start(answer_part, self.asked, *self.shared, self.part)

    def take(self, message: Any) -> bool:
        """Keep the answer, or show progress."""
        if isinstance(message, Counted):
            self.count(message.images - self.images)
            self.images = message.images
            return False
        assert isinstance(message, Answered), message
        self.come.append((self.part, message))
        return True


def outputs_of(answer: Answered) -> Outputs:
    """Logits and features; the latter are None where the group has none."""
    assert answer.logits is not None
    return answer.logits, answer.features
