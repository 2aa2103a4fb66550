"""How the results came about: a sentence for captions, the whole for the report, and what training took."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.core.dataset import ImageData
from pipeline.report.numbers import MISSING, mean
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
    views = _numbers(group.views for run in runs for group in run.views_of_store.values())
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
        for group, drawn in run.views_of_store.items():
            alpha = "" if drawn.alpha is None else f", alpha {drawn.alpha:g}"
            text = f"{drawn.views}, {drawn.draw}{alpha}"
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


def _numbers(values: Iterable[int]) -> str:
    """The lowest and the highest, as a range; nothing of none."""
    numbers = sorted(set(values))
    if not numbers:
        return ""
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]}-{numbers[-1]}"


def _training(runs: Sequence[Run]) -> str:
    epochs = _numbers(run.epochs for run in runs)
    recipes = [run.record.training for run in runs]
    rates = sorted({float(recipe["learning_rate"]) for recipe in recipes})
    batches = _numbers(int(recipe["batch_size"]) for recipe in recipes)
    schedules = sorted({str(recipe["schedule"]["name"]) for recipe in recipes})
    schedule = f", schedule {' or '.join(schedules)}" if schedules else ""
    rate = " or ".join(f"{value:g}" for value in rates)
    return f"{epochs} epochs, batch {batches}, learning rate {rate}{schedule}"


def cost_table(runs: Sequence[Run]) -> Table:
    """What training took, of the networks whose timing was kept: a row for each."""
    data = tuple(
        _cost(run, run.kept.timing.replicates)
        for run in runs
        if run.kept is not None and run.kept.timing is not None
    )
    return Table(
        name="cost",
        title="What training took",
        caption="Of kept results: mean over the replicates. Minutes are wall-clock time, which other "
        "programs on the machine lengthen.",
        header=(
            *("Name", "Device", "Precision", "Steps", "Runs", "At once"),
            *("Minutes each", "Images/s", "Memory, GB", "torch"),
        ),
        rows=tuple(cells(*map(_cost_text, row.values())) for row in data),
        data=data,
        labels=4,
    )


def _cost(run: Run, replicates: Sequence[Mapping[str, Any]]) -> dict[str, Value]:
    def values(name: str) -> str:
        return ", ".join(sorted({str(timing.get(name, MISSING)) for timing in replicates}))

    memory = [
        timing["device_memory_bytes"] / 1e9
        for timing in replicates
        if "device_memory_bytes" in timing
    ]
    return {
        "name": run.name,
        "device": values("device"),
        "precision": values("precision"),
        "steps": values("steps"),
        "replicates": len(replicates),
        "at_once": values("replicates_at_once"),
        "minutes": mean([timing["seconds"] / 60 for timing in replicates]),
        "images_per_second": mean([timing["images_per_second"] for timing in replicates]),
        "device_memory_gb": max(memory, default=None),
        "torch": ", ".join(sorted({timing["versions"]["torch"] for timing in replicates})),
    }


def _cost_text(value: Value) -> str:
    if value is None:
        return MISSING
    return f"{value:,.1f}" if isinstance(value, float) else str(value)
