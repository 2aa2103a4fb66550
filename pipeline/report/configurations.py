"""What was trained, as facts: two runs of one configuration differ in nothing but seeds.

A run is known by the facts in its record, never by its name.
"""

import json
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
        variant: in what else it differs from another run that is all this too; "" of that one.
    """

    network: str
    loss: str | None = None
    options: Options = ()
    share: float = 0.0
    alpha: float | None = None
    teacher: str | None = None
    teacher_alpha: float | None = None
    views: int | None = None
    variant: str = ""

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
    method, teacher = run.record.method, run.record.teacher
    if method is None or teacher is None:
        return Configuration(network=run.network, share=run.share, alpha=run.mixup_alpha)
    mixed = teacher.views.get("mixed")
    return Configuration(
        network=run.network,
        loss=method.loss,
        options=options(**method.options),
        share=run.share,
        alpha=mixed.alpha if run.share and mixed is not None else None,
        teacher=teacher.network,
        teacher_alpha=teacher.mixup_alpha,
        views=run.views,
    )


def own_facts(run: Run) -> dict[str, str]:
    """What of a run is its entry's own: its recipe beside the shared one, and how it reads which store."""
    entry = run.record.entry
    facts = dict(entry.get("training") or {})
    if entry.get("view_sampling", "epoch") != "epoch":
        facts["view_sampling"] = entry["view_sampling"]
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in facts.items()}
    return texts if run.teacher is None else texts | {"teacher": run.teacher}


def usual_first(runs: Iterable[Run]) -> list[Run]:
    """Runs by how little is their own; of equals, in their order."""
    return sorted(runs, key=lambda run: len(own_facts(run)))


def difference(run: Run, usual: Run) -> str:
    """In which of their own facts a run differs from another; "" where in none."""
    ours, theirs = own_facts(run), own_facts(usual)
    keys = [key for key in (*ours, *theirs) if ours.get(key) != theirs.get(key)]
    return ", ".join(f"{key} {ours.get(key, 'as shared')}" for key in dict.fromkeys(keys))


def hard_label_runs(runs: Iterable[Run]) -> dict[tuple[str, float | None], list[Run]]:
    """(network, mixup alpha) -> runs on hard labels that one deviation may be taken over.

    Parts of the images mixed are left out, and recipes other than the usual run's of that kind.
    """
    found: dict[tuple[str, float | None], list[Run]] = {}
    for run in runs:
        if run.section != "students" and run.share in (0, 1):
            found.setdefault((run.network, run.mixup_alpha), []).append(run)
    for key, kind in found.items():
        recipe = usual_first(kind)[0].record.training
        found[key] = [run for run in kind if run.record.training == recipe]
    return found


@dataclass(frozen=True)
class Results:
    """Runs by configuration.

    Of several that differ in seeds alone the first counts, a network trained alone before a teacher (it
    has more replicates); `doubles` names the others, so that nothing is left out silently.
    """

    runs: Mapping[Configuration, Run]
    teachers: Mapping[Configuration, Run]
    doubles: Sequence[str] = field(default=())

    @property
    def usual(self) -> list[Configuration]:
        """The configurations that are no variant of another one."""
        return [one for one in self.runs if not one.variant]

    @property
    def note(self) -> str:
        """A sentence on what is left out, to follow the setting in a caption."""
        if not self.doubles:
            return ""
        return f" Left out, being of the same kind as another: {', '.join(self.doubles)}."

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
    runs = list(runs)
    found: dict[Configuration, Run] = {}
    teachers: dict[Configuration, Run] = {}
    doubles = []
    for section in ("baselines", "teachers", "students"):
        usual: dict[Configuration, Run] = {}
        for run in usual_first(run for run in runs if run.section == section):
            usual.setdefault(configuration(run), run)
        seen: dict[Configuration, Run] = {}
        for run in (run for run in runs if run.section == section):
            first = usual[configuration(run)]
            key = replace(configuration(run), variant=difference(run, first))
            if run is not first and key in (*seen, configuration(first)):
                doubles.append(f"{run.section}.{run.name} (as {seen.get(key, first).name})")
                continue
            seen[key] = run
            found.setdefault(key, run)
            if section == "teachers":
                teachers[key] = run
    return Results(found, teachers, doubles)
