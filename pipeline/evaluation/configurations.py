"""What was trained, as facts: two runs of one configuration differ in nothing but seeds.

A run is known by the facts in its record, never by its name.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pipeline.evaluation.runs import Run, describe


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
        variant: what of its recipe and its source is not the usual one (`told_apart`); "": nothing.
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


def own_recipe(run: Run) -> dict[str, Any]:
    """What of its recipe is its entry's own, in place of the shared one."""
    own = run.record.entry.get("training") or {}
    return {name: value for name, value in run.recipe.items() if name in own}


def of_shared_length(runs: Sequence[Run]) -> list[Run]:
    """Those that were trained for as long as some whose entry says nothing of that, and imported ones."""
    shared = {run.epochs for run in runs if "epochs" not in own_recipe(run)}
    return [run for run in runs if run.epochs in shared]


def source(run: Run) -> dict[str, str]:
    """What a run got from elsewhere: a student its teacher and its views, another its imported weights."""
    entry = run.record.entry
    if run.teacher is not None:
        return {"view_sampling": entry.get("view_sampling", "epoch"), "teacher": run.teacher}
    return {"sha256": entry["weights"]["sha256"][:12]} if run.is_imported else {}


def usual_first(runs: Iterable[Run]) -> list[Run]:
    """Runs by how little is their own, a length of training above all, imported ones last; else in order."""

    def oddity(run: Run) -> tuple[bool, bool, int, bool]:
        own, sampling = own_recipe(run), source(run).get("view_sampling", "epoch")
        return run.is_imported, "epochs" in own, len(own), sampling != "epoch"

    return sorted(runs, key=oddity)


def told_apart(runs: Sequence[Run]) -> Iterator[tuple[Run, Configuration, str | None]]:
    """Every run with its configuration, its variant told, and the name of the run that it doubles, if any.

    A variant has another recipe than is usual for its architecture, or another source than is usual among
    runs of its section that are alike but for their number of views. What differs from an earlier run of
    its section in seeds alone is its double.
    """
    recipes = _recipe_variants(runs)
    usual: dict[tuple[str, Configuration], Run] = {}
    for run in usual_first(runs):
        usual.setdefault(_without_views(run), run)
    first: dict[tuple[str, Configuration], Run] = {}
    for run, of_recipe in zip(runs, recipes, strict=True):
        of_source = values_text(_differing(source(run), source(usual[_without_views(run)])))
        key = configuration(run)._replace(variant=_joined(of_recipe, of_source))
        other = first.setdefault((run.section, key), run)
        yield run, key, None if other is run else other.name


def _without_views(run: Run) -> tuple[str, Configuration]:
    return run.section, configuration(run)._replace(views=None)


def _recipe_variants(runs: Sequence[Run]) -> list[str]:
    """In what the recipe of each run differs from the usual one of its architecture; "": in nothing.

    A schedule goes with a length: it is told beside one only where that does not tell recipes apart.
    """
    usual: dict[str, Run] = {}
    for run in usual_first(runs):
        usual.setdefault(run.network, run)
    texts = []
    meant: dict[tuple[str, str], set[str]] = {}
    for run in runs:
        facts = _differing(run.recipe, usual[run.network].recipe)
        full = _recipe_text(facts)
        if "epochs" in facts:
            facts.pop("schedule", None)
        texts.append((run.network, _recipe_text(facts), full))
        meant.setdefault(texts[-1][:2], set()).add(full)
    return [short if len(meant[network, short]) == 1 else full for network, short, full in texts]


def _recipe_text(facts: Mapping[str, Any]) -> str:
    length = f"{facts['epochs']} epochs" if "epochs" in facts else ""
    return _joined(length, values_text({k: v for k, v in facts.items() if k != "epochs"}))


def _joined(*texts: str) -> str:
    return ", ".join(filter(None, texts))


def _differing(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in ours.items() if theirs.get(name) != value}


def values_text(values: Mapping[str, Any]) -> str:
    """`alpha 0.9, gamma 0.1`: names sorted, lists and mappings in brackets."""
    return ", ".join(f"{name} {_value_text(value)}" for name, value in sorted(values.items()))


def _value_text(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"({values_text(value)})"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value_text, value)) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def in_words(run: Run, variant: str) -> str:
    """`describe`, and the variant of `told_apart`: `kd, 50 % mixed, 60 epochs`."""
    return _joined(describe(run), variant)


def hard_label_runs(runs: Iterable[Run]) -> dict[tuple[str, float | None], list[Run]]:
    """(network, mixup alpha) -> runs on hard labels that one deviation may be taken over.

    Parts of the images mixed are left out, and whatever differs from the usual run of that kind in its
    recipe, or in being imported.
    """
    kinds: dict[tuple[str, float | None], list[Run]] = {}
    for run in runs:
        if run.section != "students" and run.share in (0, 1):
            kinds.setdefault((run.network, run.mixup_alpha), []).append(run)
    return {key: _of_one_recipe(kind) for key, kind in kinds.items()}


def _of_one_recipe(kind: Sequence[Run]) -> list[Run]:
    usual = usual_first(kind)[0]
    return [run for run in kind if (run.recipe, source(run)) == (usual.recipe, source(usual))]
