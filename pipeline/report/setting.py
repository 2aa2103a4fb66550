"""Under which conditions the results came about: a sentence for captions, and the whole for the report."""

from collections.abc import Iterable, Sequence

from pipeline.core.dataset import ImageData
from pipeline.report.runs import SECTIONS, Run
from pipeline.report.tables import Table, Value, cells

TITLES = {"teachers": "teachers", "baselines": "networks alone", "students": "students"}


def caption(data: ImageData, runs: Sequence[Run]) -> str:
    """One line for captions: data set, on which images, length of training, number of views."""
    parts = [
        f"{data.name}, {len(data.test.labels)} {data.evaluated_on} images",
        f"{len(data.train.labels)} training images{_subset(data)}",
    ]
    if runs:
        parts.append(f"{_numbers(run.epochs for run in runs)} epochs")
    views = _numbers(one["views"] for run in runs for one in _views(run).values())
    if views:
        parts.append(f"{views} views")
    return "; ".join(parts) + "."


def setting_table(data: ImageData, runs: Sequence[Run], not_run: Sequence[str] = ()) -> Table:
    """What was trained on what, for how long and from which views.

    `not_run` names networks that the report lacks.
    """
    facts = [("Data set", data.name), ("Evaluated on", _evaluated(data))]
    facts.append(("Training images", f"{len(data.train.labels)}{_subset(data)}"))
    facts.append(("Classes", str(len(data.class_names))))
    facts.append(("Image size", "x".join(map(str, data.train.images.shape[1:3])) + " pixels"))
    for section in SECTIONS:
        chosen = [run for run in runs if run.section == section]
        if chosen:
            facts.append((f"Training of {TITLES[section]}", _training(chosen)))
    views: dict[tuple[str, str], set[str]] = {}
    for run in runs:
        for group, one in _views(run).items():
            alpha = "" if one.get("alpha") is None else f", alpha {one['alpha']:g}"
            text = f"{one['views']}, {one['draw']}{alpha}"
            views.setdefault((group, text), set()).add(str(run.teacher))
    for (group, text), teachers in sorted(views.items()):
        facts.append((f"Views, {group}", f"{text} (of {', '.join(sorted(teachers))})"))
    kept = [run for run in runs if run.kept is not None]
    if kept:
        where = ", ".join(sorted({str(run.folder.parent.parent) for run in kept}))
        facts.append(("From kept results", f"{len(kept)} of {len(runs)} networks ({where})"))
    if not_run:
        facts.append(("Not run", f"{len(not_run)} of {len(not_run) + len(runs)} networks"))
    return Table(
        name="setting",
        title="How the results came about",
        caption="The last epoch counts; nothing is selected on the images that are evaluated on.",
        header=("What", "Value"),
        rows=tuple(cells(*fact) for fact in facts),
        data=tuple({"what": what, "value": value} for what, value in facts),
        labels=2,
        prose=(1,),
    )


def _evaluated(data: ImageData) -> str:
    source = "held out of the training set" if data.evaluated_on == "validation" else "test set"
    return f"{len(data.test.labels)} {data.evaluated_on} images ({source})"


def _subset(data: ImageData) -> str:
    subset = data.notes.get("subset")
    return f" (a stratified {100 * subset['fraction']:g} % of the training set)" if subset else ""


def _views(run: Run) -> dict[str, dict[str, Value]]:
    teacher = run.record["teacher"]
    return dict(teacher.get("views", {})) if teacher else {}


def _numbers(values: Iterable[object]) -> str:
    found = sorted({int(str(value)) for value in values})
    return "" if not found else str(found[0]) if len(found) == 1 else f"{found[0]}-{found[-1]}"


def _training(runs: Sequence[Run]) -> str:
    epochs = _numbers(run.epochs for run in runs)
    recipes = [run.record["training"] for run in runs]
    rates = sorted({float(one["learning_rate"]) for one in recipes})
    batches = _numbers(one["batch_size"] for one in recipes)
    kinds = sorted({str(one["schedule"]["name"]) for one in recipes})
    schedule = f", schedule {' or '.join(kinds)}" if kinds else ""
    shown = " or ".join(f"{rate:g}" for rate in rates)
    return f"{epochs} epochs, batch {batches}, learning rate {shown}{schedule}"
