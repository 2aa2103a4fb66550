"""What was trained, as facts: two runs of one configuration differ in nothing but seeds.

A run is known by the facts in its record, never by its name.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pipeline.report.runs import Run

Options = tuple[tuple[str, float], ...]


def options(**values: float) -> Options:
    """Hyper-parameters in a form that can be compared."""
    return tuple(sorted((name, float(value)) for name, value in values.items()))


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """A network and what it learned from.

    Attributes:
        loss, options: the method and its hyper-parameters; None and () for hard labels.
        share, alpha: the part of the images that is mixed, and with which mixup; alpha None: none.
        teacher, teacher_alpha: architecture of the teacher, and its own mixup.
        views: the number of views that the student was limited to; None: all of the store's.
    """

    network: str
    loss: str | None = None
    options: Options = ()
    share: float = 0.0
    alpha: float | None = None
    teacher: str | None = None
    teacher_alpha: float | None = None
    views: int | None = None

    @property
    def pair(self) -> tuple[str | None, float | None, str]:
        """Teacher, its mixup, student: what methods are compared on."""
        return self.teacher, self.teacher_alpha, self.network

    def of_plain_teacher(self) -> "Configuration":
        """The same with a teacher that was trained without mixup."""
        return replace(self, teacher_alpha=None)

    def of_all_views(self) -> "Configuration":
        """The same with all views of the store."""
        return replace(self, views=None)


def configuration(run: Run) -> Configuration:
    """The configuration of a run, from its record."""
    method, teacher = run.record["method"], run.record["teacher"]
    if method is None or teacher is None:
        return Configuration(network=run.network, share=run.share, alpha=run.mixup_alpha)
    mixed = teacher.get("views", {}).get("mixed") or {}
    return Configuration(
        network=run.network,
        loss=str(method["loss"]),
        options=options(**{k: v for k, v in method.items() if k not in ("name", "loss")}),
        share=run.share,
        alpha=mixed.get("alpha") if run.share else None,
        teacher=str(teacher["network"]),
        teacher_alpha=teacher["mixup_alpha"],
        views=run.views,
    )


@dataclass(frozen=True)
class Results:
    """Runs by configuration.

    Of several of one configuration the first counts, a network trained alone before a teacher (it has
    more replicates); `doubles` names the others, so that nothing is left out silently.
    """

    runs: Mapping[Configuration, Run]
    teachers: Mapping[Configuration, Run]
    doubles: Sequence[str] = field(default=())

    def accuracies(self, wanted: Configuration) -> tuple[float, ...]:
        """Top-1 accuracies in percent, one a replicate; empty where it was not run."""
        return self._percent(self.runs.get(wanted))

    def teacher_accuracies(self, network: str, alpha: float | None = None) -> tuple[float, ...]:
        """Top-1 accuracy in percent of the teacher itself; of any such network where there is none."""
        wanted = Configuration(network=network, share=1.0 if alpha else 0.0, alpha=alpha)
        return self._percent(self.teachers.get(wanted) or self.runs.get(wanted))

    @staticmethod
    def _percent(run: Run | None) -> tuple[float, ...]:
        return () if run is None else tuple(100 * value for value in run.top1_accuracies)


def gather(runs: Iterable[Run]) -> Results:
    """Index runs by what they are."""
    order = {"baselines": 0, "teachers": 1, "students": 2}
    found: dict[Configuration, Run] = {}
    teachers: dict[Configuration, Run] = {}
    doubles = []
    for run in sorted(runs, key=lambda run: order[run.section]):
        key = configuration(run)
        if run.section == "teachers":
            teachers.setdefault(key, run)
        if key not in found:
            found[key] = run
        elif run.section == found[key].section:
            doubles.append(f"{run.section}.{run.name} (as {found[key].name})")
    return Results(found, teachers, doubles)
