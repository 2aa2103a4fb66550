"""What was trained, as facts: two runs of one configuration differ in nothing but seeds.

A run is known by the facts in its record, never by its name.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pipeline.evaluation.runs import SECTIONS, Run


def options(**values: Any) -> str:
    """Hyper-parameters as one text, whatever their order: `alpha=0.9 temperature=4.0`."""
    return " ".join(f"{name}={_number(value)}" for name, value in sorted(values.items()))


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, int | float) else value


class Configuration(NamedTuple):
    """A network and what it learned from: columns of the frame, and as text the key of its rows.

    Attributes:
        loss, options: the method and its hyper-parameters; None and "" for hard labels.
        share, mixup_alpha: the part of the images that is mixed, and with which mixup; None: none.
        teacher_network, teacher_mixup_alpha: architecture of the teacher, and its own mixup.
        views: the number of views that the student was limited to; None: all of the store's.
        variant: in what else it differs from another run that is all this too; "" of that one.
    """

    network: str
    loss: str | None = None
    options: str = ""
    share: float = 0.0
    mixup_alpha: float | None = None
    teacher_network: str | None = None
    teacher_mixup_alpha: float | None = None
    views: int | None = None
    variant: str = ""

    def __str__(self) -> str:
        facts = self._asdict().items()
        return "; ".join(f"{name} {value}" for name, value in facts if value not in (None, ""))


def configuration(run: Run) -> Configuration:
    """The configuration of a run, from its record."""
    method, teacher = run.record.method, run.record.teacher
    if method is None or teacher is None:
        return Configuration(run.network, share=run.share, mixup_alpha=run.mixup_alpha)
    mixed = teacher.views.get("mixed")
    alpha = teacher.mixup_alpha
    return Configuration(
        network=run.network,
        loss=method.loss,
        options=options(**method.options),
        share=run.share,
        mixup_alpha=mixed.alpha if run.share and mixed is not None else None,
        teacher_network=teacher.network,
        teacher_mixup_alpha=None if alpha is None else float(alpha),
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


def told_apart(runs: Sequence[Run]) -> Iterator[tuple[Run, Configuration, str | None]]:
    """Every run with its configuration, its variant told, and the name of the run that it doubles, if any.

    The runs of one section are compared with one another: of those of one configuration the one with
    least of its own is the usual one; what differs from it in seeds alone is its double.
    """
    for section in SECTIONS:
        own = [run for run in runs if run.section == section]
        usual: dict[Configuration, Run] = {}
        for run in usual_first(own):
            usual.setdefault(configuration(run), run)
        seen: dict[Configuration, Run] = {}
        for run in own:
            first = usual[configuration(run)]
            key = configuration(run)._replace(variant=difference(run, first))
            doubled = run is not first and key in (*seen, configuration(first))
            yield run, key, seen.get(key, first).name if doubled else None
            if not doubled:
                seen[key] = run


def hard_label_runs(runs: Iterable[Run]) -> dict[tuple[str, float | None], list[Run]]:
    """(network, mixup alpha) -> runs on hard labels that one deviation may be taken over.

    Parts of the images mixed are left out, and recipes other than the usual run's of that kind.
    """
    kinds: dict[tuple[str, float | None], list[Run]] = {}
    for run in runs:
        if run.section != "students" and run.share in (0, 1):
            kinds.setdefault((run.network, run.mixup_alpha), []).append(run)
    return {key: _of_one_recipe(kind) for key, kind in kinds.items()}


def _of_one_recipe(kind: Sequence[Run]) -> list[Run]:
    recipe: Mapping[str, Any] = usual_first(kind)[0].record.training
    return [run for run in kind if run.record.training == recipe]
