"""How the results came about: a sentence for captions, the whole for the report, and what training took."""

from collections.abc import Iterable, Sequence

import pandas as pd

from pipeline.core.dataset import ImageData
from pipeline.evaluation.numbers import MISSING
from pipeline.evaluation.runs import SECTIONS, Run
from pipeline.report.tables import Table, network_names, text_rows

NETWORK = ["section", "name"]
COST_TEXTS = ("device", "precision", "steps", "replicates_at_once", "torch")
COST_NUMBERS = ("seconds", "images_per_second", "device_memory_bytes")


def caption(data: ImageData, runs: Sequence[Run]) -> str:
    """One line for captions: data set, on which images, length of training, number of views."""
    parts = [
        f"{data.name}, {len(data.test.labels)} {data.evaluated_on} images",
        f"{len(data.train.labels)} training images{_subset(data)}",
    ]
    if epochs := _range(run.epochs for run in runs if not run.is_imported):
        parts.append(f"{epochs} epochs")
    views = _range(group.views for run in runs for group in run.views_of_store.values())
    if views:
        parts.append(f"{views} views")
    return "; ".join(parts) + "."


def setting_table(
    data: ImageData, runs: Sequence[Run], frame: pd.DataFrame, not_run: Sequence[str] = ()
) -> Table:
    """What was trained on what, for how long and from which views.

    Args:
        frame: of the runs; not_run: names of networks that the report lacks.
    """
    facts = [("Data set", data.name), ("Evaluated on", _evaluated(data))]
    facts.append(("Training images", f"{len(data.train.labels)}{_subset(data)}"))
    facts.append(("Classes", str(len(data.class_names))))
    facts.append(("Image size", "x".join(map(str, data.train.images.shape[1:3])) + " pixels"))
    for section in SECTIONS:
        chosen = frame[frame["section"] == section]
        if len(chosen):
            facts.append((f"Training of {section}", _training(chosen)))
    facts += _views(runs)
    kept = [run for run in runs if run.kept is not None]
    if kept:
        where = ", ".join(sorted({str(run.folder.parent.parent) for run in kept}))
        facts.append(("From kept results", f"{len(kept)} of {len(runs)} networks ({where})"))
    if not_run:
        facts.append(("Not run", f"{len(not_run)} of {len(not_run) + len(runs)} networks"))
    table = pd.DataFrame(facts, columns=["what", "value"])
    return Table(
        name="setting",
        title="How the results came about",
        caption="The last epoch counts; nothing is selected on the images that are evaluated on.",
        header=("What", "Value"),
        rows=text_rows(table["what"], table["value"]),
        data=table,
        labels=2,
        prose=(1,),
    )


def _evaluated(data: ImageData) -> str:
    source = "held out of the training set" if data.evaluated_on == "validation" else "test set"
    return f"{len(data.test.labels)} {data.evaluated_on} images ({source})"


def _subset(data: ImageData) -> str:
    subset = data.notes.get("subset")
    return f" (a stratified {100 * subset['fraction']:g} % of the training set)" if subset else ""


def _range(values: Iterable[float]) -> str:
    """The lowest and the highest; nothing of none."""
    numbers = sorted({int(value) for value in values})
    if not numbers:
        return ""
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]}-{numbers[-1]}"


def _training(rows: pd.DataFrame) -> str:
    """Of rows of the frame of a section: the recipes in short, and who has none."""
    imported = rows["recipe"].isna()
    texts = [] if imported.all() else [_recipe(rows[~imported])]
    if imported.any():
        names = dict.fromkeys(rows.loc[imported, "name"])
        texts.append(f"{', '.join(names)}: imported weights")
    return "; ".join(texts)


def _recipe(rows: pd.DataFrame) -> str:
    rate = " or ".join(f"{value:g}" for value in sorted(set(rows["learning_rate"])))
    schedule = " or ".join(sorted(set(rows["schedule"])))
    epochs, batches = _range(rows["epochs"]), _range(rows["batch_size"])
    return f"{epochs} epochs, batch {batches}, learning rate {rate}, schedule {schedule}"


def _views(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """How the views of each group were drawn, and of which teachers."""
    teachers: dict[tuple[str, str], set[str]] = {}
    for run in runs:
        for group, drawn in run.views_of_store.items():
            alpha = "" if drawn.alpha is None else f", alpha {drawn.alpha:g}"
            text = f"{drawn.views}, {drawn.draw}{alpha}"
            teachers.setdefault((group, text), set()).add(str(run.teacher))
    return [
        (f"Views, {group}", f"{text} (of {', '.join(sorted(names))})")
        for (group, text), names in sorted(teachers.items())
    ]


def cost_table(runs: Sequence[Run]) -> Table:
    """What training took, of the networks whose timing was kept: a row for each."""
    timings = [
        {
            "section": run.section,
            "name": run.name,
            "torch": replicate["versions"]["torch"],
            **replicate,
        }
        for run in runs
        if run.kept is not None and run.kept.timing is not None and not run.is_imported
        for replicate in run.kept.timing.replicates
    ]
    columns = [*NETWORK, *COST_TEXTS, *COST_NUMBERS]
    data = _costs(pd.DataFrame(timings, columns=columns, dtype=object))
    return Table(
        name="cost",
        title="What training took",
        caption="Of kept results: mean over the replicates. Minutes are wall-clock time, which other "
        "programs on the machine lengthen.",
        header=(
            *("Name", "Device", "Precision", "Steps", "Runs", "At once"),
            *("Minutes each", "Images/s", "Memory, GB", "torch"),
        ),
        rows=text_rows(
            network_names(data),
            *(data[name].map(_cost_text) for name in data if name not in NETWORK),
        ),
        data=data,
        labels=4,
    )


def _costs(timings: pd.DataFrame) -> pd.DataFrame:
    """A row a network, of a row a replicate."""
    texts = timings.assign(**timings[list(COST_TEXTS)].map(_cost_text))
    listed = texts.groupby(NETWORK, sort=False)[list(COST_TEXTS)].agg(_listed)
    numbers = timings.astype(dict.fromkeys(COST_NUMBERS, float)).groupby(NETWORK, sort=False)
    return pd.DataFrame(
        {
            "device": listed["device"],
            "precision": listed["precision"],
            "steps": listed["steps"],
            "replicates": numbers.size(),
            "at_once": listed["replicates_at_once"],
            "minutes": numbers["seconds"].mean() / 60,
            "images_per_second": numbers["images_per_second"].mean(),
            "device_memory_gb": numbers["device_memory_bytes"].max() / 1e9,
            "torch": listed["torch"],
        }
    ).reset_index()


def _listed(values: "pd.Series[str]") -> str:
    return ", ".join(sorted(set(values)))


def _cost_text(value: object) -> str:
    if pd.isna(value):  # type: ignore[call-overload]
        return MISSING
    return f"{value:,.1f}" if isinstance(value, float) else str(value)
