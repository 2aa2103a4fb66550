"""What a parameter file will cost on a machine: stages, hours, disk, and what the cache saves."""

import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from pipeline.compute import describe_device, pick_device, set_up
from pipeline.core.dataset_facts import DatasetError, damaged, read_facts
from pipeline.core.dataset_params import DatasetParams
from pipeline.core.files import PREPARED, STORES, WORK
from pipeline.core.machine import Machine, load_machine
from pipeline.core.params import load_yaml, section
from pipeline.dump.params import Precision
from pipeline.planning.checker import check_all
from pipeline.planning.cost import Costs, ImageCounts, StageCost, count_images
from pipeline.planning.rate import Rate, measure
from pipeline.training.params import TrainingParams
from pipeline.views.params import Augmentation
from stages.dvc.lock import DONE, Lock, State
from stages.dvc.running import find_work, own_bytes
from stages.dvc.waves import WAVES
from stages.shared.time_left import last_end

# By network ("" for those that were not measured) and precision.
Rates = Mapping[tuple[str, Precision], Rate]


@dataclass(frozen=True)
class PlannedStage:
    """A stage with its state, and the seconds of one replicate: its own, and those of a live teacher."""

    cost: StageCost
    state: State
    seconds: float
    teacher_seconds: float

    @property
    def left(self) -> bool:
        """Whether it still has to run."""
        return self.state not in DONE


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All stages of a profile on this machine.

    `processes` train replicates at the same time; `rates` are those of the networks that were
    measured, by name and precision, and under "" those for all others; `free_bytes` is the room on the
    disk of the workspace; `begun_bytes` are those that stages which are left have written already.
    """

    profile: str
    counts: ImageCounts
    device: str
    processes: int
    rates: Rates
    stages: tuple[PlannedStage, ...]
    free_bytes: int
    begun_bytes: int

    def of(self, *kinds: str) -> list[PlannedStage]:
        """The stages of some kinds."""
        return [stage for stage in self.stages if stage.cost.kind in kinds]

    @property
    def kinds(self) -> list[str]:
        """The kinds of stages, in the order of the pipeline."""
        return list(dict.fromkeys(stage.cost.kind for stage in self.stages))

    def totals(self) -> dict[str, dict[str, float]]:
        """What each kind comes to; see `totals`."""
        return {kind: totals(self.of(kind), self.processes) for kind in self.kinds}

    @property
    def total(self) -> dict[str, float]:
        """What all stages come to; kinds that run side by side take less than their sum."""
        return totals(self.stages, self.processes)

    def hours(self, stages: Sequence[PlannedStage], *, online: bool = False) -> float:
        """Hours that stages take on this machine; see `seconds_of`."""
        return seconds_of(stages, self.processes, online=online) / 3600

    @property
    def bytes_left(self) -> int:
        """Bytes that are still to be written."""
        left = sum(stage.cost.out_bytes for stage in self.stages if stage.left)
        return max(0, left - self.begun_bytes)

    @property
    def fits(self) -> bool:
        """Whether there is room for what is still to be written."""
        return self.bytes_left <= self.free_bytes

    def cache(self) -> dict[str, float]:
        """The students with stores, against the same students with a live teacher each.

        FLOPs and hours of dumping, of training from stores, and of training with live teachers; and
        what is saved.
        """
        dumps, students = self.of("dump"), self.of("train_student")
        dump_flops = sum(stage.cost.flops for stage in dumps)
        live_flops = sum(s.cost.replicates * s.cost.live_teacher_flops for s in students)
        dump_hours, student_hours = self.hours(dumps), self.hours(students)
        online_hours = self.hours(students, online=True)
        return {
            "dump_flops": dump_flops,
            "student_flops": sum(stage.cost.flops for stage in students),
            "live_teacher_flops": live_flops,
            "saved_flops": live_flops - dump_flops,
            "dump_hours": dump_hours,
            "student_hours": student_hours,
            "online_hours": online_hours,
            "saved_hours": online_hours - student_hours - dump_hours,
        }

    def to_json(self) -> dict[str, Any]:
        """Everything, for machines."""
        return {
            "profile": self.profile,
            "images": asdict(self.counts),
            "machine": {
                "device": self.device,
                "processes": self.processes,
                "rates": [
                    {"network": name, "precision": precision, **asdict(rate)}
                    for (name, precision), rate in self.rates.items()
                ],
            },
            "kinds": self.totals(),
            "total": self.total,
            "stores": {
                stage.cost.name.partition("@")[2]: {
                    "bytes": stage.cost.out_bytes,
                    "groups": dict(stage.cost.group_bytes or {}),
                }
                for stage in self.of("dump")
            },
            "disk": {
                "bytes_left": self.bytes_left,
                "free_bytes": self.free_bytes,
                "fits": self.fits,
            },
            "cache": self.cache(),
            "stages": [
                {
                    "name": stage.cost.name,
                    "state": stage.state,
                    "flops": stage.cost.flops,
                    "hours": self.hours([stage]),
                    "bytes": stage.cost.out_bytes,
                }
                for stage in self.stages
            ],
        }


def totals(stages: Sequence[PlannedStage], processes: int) -> dict[str, float]:
    """Number of stages, how many are done, FLOPs, hours, hours still to come, bytes."""
    left = [stage for stage in stages if stage.left]
    return {
        "stages": len(stages),
        "done": len(stages) - len(left),
        "flops": sum(stage.cost.flops for stage in stages),
        "hours": seconds_of(stages, processes) / 3600,
        "hours_left": seconds_of(left, processes) / 3600,
        "bytes": sum(stage.cost.out_bytes for stage in stages),
    }


def seconds_of(stages: Sequence[PlannedStage], processes: int, *, online: bool = False) -> float:
    """Seconds that stages take as `decant repro` runs them; `online`: with live teachers.

    One wave after the other; in each, the replicates of all stages run `processes` at a time.
    """
    seconds = 0.0
    for kinds in WAVES:
        replicates = [
            stage.seconds + online * stage.teacher_seconds
            for stage in stages
            if stage.cost.kind in kinds
            for _ in range(stage.cost.replicates)
        ]
        seconds += last_end(replicates, [0.0] * processes)
    return seconds


def timed(
    costs: Iterable[StageCost], states: Iterable[State], rates: Rates
) -> Iterator[PlannedStage]:
    """Give each stage the seconds of one replicate, all at the rate of their own precision."""

    def rate(network: str | None, precision: Precision) -> Rate:
        return rates.get((network or "", precision)) or rates["", precision]

    for cost, state in zip(costs, states, strict=True):
        asked = rate(cost.network, cost.precision)
        own = cost.training_flops / asked.training + cost.view_flops / asked.forward
        own += cost.forward_flops / rate(cost.network, "float32").forward
        teacher = cost.live_teacher_flops / rate(cost.teacher, cost.teacher_precision).forward
        yield PlannedStage(cost, state, own, teacher)


def free_bytes(folder: Path) -> int:
    """Free bytes on the file system of a folder, which need not exist yet."""
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def make_plan(source: Path, networks: Sequence[str], stated_rate: float | None) -> Plan:
    """Check a parameter file, count, measure and compare with dvc.lock. Raises ParamsError."""
    content = load_yaml(source)
    check_all(content, source)
    machine = load_machine(content)
    device = pick_device(machine)
    set_up(device, machine.threads)
    lock = Lock(Path(), content)
    costs = Costs(content, image_counts(content, machine, lock))
    stages = list(costs.stages())
    if stated_rate is None:
        rates = measured_rates(content, networks, used_precisions(stages), costs.counts, device)
    else:
        stated = Rate(stated_rate, stated_rate)
        rates = {("", precision): stated for precision in used_precisions(stages)}
    # A stated rate is that of a device as a whole.
    on_cores = device.type == "cpu" and stated_rate is None
    processes = machine.processes(machine.cores) if on_cores else 1
    planned = tuple(timed(stages, [lock.state(stage.name) for stage in stages], rates))
    return Plan(
        profile=str(source),
        counts=costs.counts,
        device=str(describe_device(device)["device"]),
        processes=processes,
        rates=rates,
        stages=planned,
        free_bytes=free_bytes(STORES),
        begun_bytes=begun_bytes({stage.cost.name for stage in planned if stage.left}),
    )


def image_counts(content: Mapping[str, Any], machine: Machine, lock: Lock) -> ImageCounts:
    """How many images there will be; in a clone without the raw ones, how many are prepared.

    Raises DatasetError where neither can be told.
    """
    try:
        return count_images(section(content, DatasetParams, "dataset"), machine.raw)
    except DatasetError:
        if lock.state("prepare") not in DONE or not PREPARED.is_dir():
            raise
    facts = read_facts(PREPARED)
    try:
        train, test, size = facts["train_images"], facts["test_images"], facts["image_shape"][0]
        return ImageCounts(int(train), int(test), len(facts["class_names"]), int(size))
    except (KeyError, TypeError, IndexError) as error:
        raise damaged(PREPARED / "dataset.json", f"entry missing or malformed: {error}") from error


def begun_bytes(stages: Collection[str]) -> int:
    """Bytes that work on some stages has written and not yet published."""
    works = (work for work in find_work(WORK) if not {*stages}.isdisjoint(work.note.stages))
    return sum(own_bytes(work.folder) for work in works)


def used_precisions(stages: Sequence[StageCost]) -> list[Precision]:
    """What something is computed in: float32, as tests are, and what entries and stores ask for."""
    asked = {precision for s in stages for precision in (s.precision, s.teacher_precision)}
    return ["float32", *sorted(asked - {"float32"})]


def measured_rates(
    content: dict[str, Any],
    networks: Sequence[str],
    precisions: Sequence[Precision],
    counts: ImageCounts,
    device: torch.device,
) -> dict[tuple[str, Precision], Rate]:
    """Measure networks in each precision with a file's recipe; the first also stands under ""."""
    training = section(content, TrainingParams, "training")
    augmentation = section(content, Augmentation, "augmentation")
    size = (counts.classes, counts.image_size)
    recipes = {precision: replace(training, precision=precision) for precision in precisions}
    rates = {
        (name, precision): measure(name, recipe, augmentation, *size, device)
        for name in networks
        for precision, recipe in recipes.items()
    }
    return {("", precision): rates[networks[0], precision] for precision in precisions} | rates
