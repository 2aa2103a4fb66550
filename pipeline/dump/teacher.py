"""A teacher of params.yaml and the prepared data in, its store out."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.compute import open_work, set_up, work_device
from pipeline.core.asked_dataset import load_dataset
from pipeline.core.dataset import ImageData
from pipeline.core.errors import DecantError
from pipeline.core.files import WorkFolder
from pipeline.core.machine import load_machine
from pipeline.core.notes import WorkNote
from pipeline.core.params import section
from pipeline.core.progress import Display, Tick
from pipeline.dump.dump import (
    Answers,
    LocalAnswers,
    group_header,
    groups_of,
    teacher_info,
    write_group,
)
from pipeline.dump.params import DumpParams
from pipeline.dump.ready import ready
from pipeline.models.network import Network
from pipeline.models.registry import build, check_asked_for, own_code_sha256
from pipeline.models.weights import load_into, load_weights, weights_digest
from pipeline.results.record import RECORD, WEIGHTS, Record, read_record
from pipeline.store.format.manifest import Header, header_facts
from pipeline.store.format.version import write_versions
from pipeline.views.params import CLEAN, Augmentation, GroupName
from pipeline.views.predict import place


@dataclass(frozen=True)
class Dumped:
    """The groups of a store that was dumped, and those of them whose views were all there before."""

    groups: list[GroupName]
    kept: list[GroupName]


class Dump:
    """A teacher and what is to be dumped of it; its network is loaded when it is needed.

    Args:
        name: of an entry of `dumps`.
        content: the whole parameter file.
        folder: of the trained teacher.

    Raises a DecantError for a mistake of the user's.
    """

    def __init__(self, name: str, content: dict[str, Any], data: ImageData, folder: Path) -> None:
        self.name, self.data, self.folder = name, data, folder
        self.machine = load_machine(content)
        self.device = work_device(self.machine)
        self.params = section(content, DumpParams, "dumps", name)
        self.augmentation = section(content, Augmentation, "augmentation")
        self.record = read_record(folder)
        check_asked_for(self.record.network, content, folder / RECORD)  # it may be from a remote
        if self.record.dataset.fingerprint != data.fingerprint:
            raise DecantError(
                f"{folder} was trained on another data set than the prepared one: `decant prepare` brings "
                f"that of the parameters, and `dvc repro train_teacher@{folder.name}` trains on it"
            )

    def header(self, group: GroupName) -> Header:
        """What the manifest of a group states."""
        teacher = teacher_info(self.record, self.data)
        return group_header(group, self.params, self.augmentation, self.data, teacher, self.device)

    def work(self, group: GroupName) -> WorkFolder:
        """The folder in which a group is computed."""
        views = None if group == CLEAN else self.params.group(group)
        facts = {
            "header": header_facts(self.header(group)),
            "features": views is None or views.features,
            "own_network": own_code_sha256(self.record.network),
        }
        return open_work("dump", facts, self.device)

    def compute(
        self,
        group: GroupName,
        work: WorkFolder,
        show: Callable[[Tick], None],
        tell: Callable[[str], None],
    ) -> dict[str, Path]:
        """Compute what is missing of a group in its work folder, which is open; see `write_group`.

        Raises StoreError for unfinished work that cannot be used.
        """
        header, label = self.header(group), part_label(self.name, group)
        views = None if group == CLEAN else self.params.group(group)
        WorkNote((f"dump@{self.name}",), group=group, views=views.views if views else 0).write(
            work.path
        )
        answers = self._local(header) if self.machine.cluster is None else self._there(header, tell)
        return write_group(
            answers,
            header,
            self.params,
            self.data,
            work.path,
            lambda done, total: show(Tick(label, done, total)),
        )

    def _local(self, header: Header) -> LocalAnswers:
        lower = header.precision == self.params.precision
        network = self.as_asked if lower else self.exact
        return LocalAnswers(network, header, self.data, self.device, self.exact)

    def _there(self, header: Header, tell: Callable[[str], None]) -> Answers:
        """The answers of a cluster's nodes."""
        from pipeline.cluster.dumping import ClusterAnswers
        from pipeline.cluster.on_ray import session  # needs the extra `ray`

        views = None if header.group == CLEAN else self.params.group(header.group)
        return ClusterAnswers(
            session(self.machine),
            self._weights,
            self.record.network,
            self.params.precision,
            header,
            self.data,
            self.machine,
            tell,
            features=views is None or views.features,
        )

    @cached_property
    def exact(self) -> Network:
        """The teacher in float32."""
        return ready(self._network, self.data.train.images.shape[1:3], "float32")

    @cached_property
    def as_asked(self) -> Network:
        """The teacher in the dump's precision."""
        return ready(self._network, self.data.train.images.shape[1:3], self.params.precision)

    @cached_property
    def _network(self) -> Network:
        set_up(self.device, self.machine.threads)
        return place(self._weights, self.device)

    @cached_property
    def _weights(self) -> Network:
        return load_teacher(self.folder, self.record, len(self.data.class_names))


def part_label(name: str, group: str) -> str:
    """A group of a dump in messages."""
    return f"{name} {group}"


def dump_teacher(
    name: str,
    content: dict[str, Any],
    prepared: Path,
    folder: Path,
    target: Path,
    display: Display,
    *,
    versions: Path | None,
) -> Dumped:
    """Dump an entry of `dumps` and publish the store.

    Each group is computed in a work folder of its own, so that changing one leaves what is done of the
    others, and more views add to the ones that are there.

    Args:
        content: the whole parameter file.
        folder: of the trained teacher.
        target: the store to publish.
        versions: where to write which version of the store this is; None: nowhere.

    Raises ValueError for a mistake of the user's, StoreError for unfinished work that cannot be used.
    """
    dump = Dump(name, content, load_dataset(prepared, content), folder)
    groups = groups_of(dump.params)
    files: dict[str, Path] = {}
    shown: set[str] = set()

    def show(tick: Tick) -> None:
        shown.add(tick.job)
        display.show(tick)

    with ExitStack() as stack:
        for group in groups:
            work = stack.enter_context(dump.work(group))
            files |= dump.compute(group, work, show, display.tell)
        work.publish(files, target)
    if versions is not None:
        write_versions(target, groups, versions)
    kept: list[GroupName] = [g for g in groups if g != CLEAN and part_label(name, g) not in shown]
    return Dumped(groups, kept)


def load_teacher(folder: Path, record: Record, classes: int) -> Network:
    """The network of a teacher's folder, on the CPU.

    Raises DecantError where its weights are not those that its record tells of, whose sha256 the
    store will carry.
    """
    path = folder / "replicate-0" / WEIGHTS
    network = build(record.network, classes)
    load_into(network, load_weights(path), source=str(path), name=record.network)
    digest, stated = weights_digest(network), record.replicates[0].weights_sha256
    if digest != stated:
        raise DecantError(
            f"{path}: not the weights of its record (sha256 {digest[:12]}..., there {stated[:12]}...): "
            f"damaged, or of another training. Delete {folder} and pull it (`dvc pull {folder}`), or run "
            f"`decant clean` and train it again (`dvc repro train_teacher@{folder.name}`)"
        )
    return network
