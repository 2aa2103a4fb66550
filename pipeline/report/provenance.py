"""Where the results come from: methods, recipes, digests and versions, all of it from records."""

import inspect
import json
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import pandas as pd

from pipeline.core.dataset import ImageData
from pipeline.evaluation.configurations import values_text
from pipeline.evaluation.numbers import MISSING
from pipeline.evaluation.runs import Run
from pipeline.losses.registry import resolve
from pipeline.losses.signatures import LOSSES
from pipeline.report.tables import Table, text_rows

NOTATION = (
    "s, t: logits of student and teacher; y: labels, mixed where images are; CE: cross-entropy, KL: "
    "Kullback-Leibler divergence, in nats, mean over the batch; T: temperature."
)
CODECS = (
    "Codecs and the precision of a dump stand in the manifest of a store's group; a record names the "
    "manifest by its digest, which pins them."
)


def provenance_tables(runs: Sequence[Run], data: ImageData) -> list[Table]:
    """Methods, recipes, what was learned from, the networks' own digests, and versions where kept."""
    tables = [methods_table(runs), recipes_table(runs), sources_table(runs, data)]
    tables += [weights_table(runs), versions_table(runs)]
    return [table for table in tables if table.rows]


def methods_table(runs: Sequence[Run]) -> Table:
    """The methods of students: formula of the loss, values of its hyper-parameters."""
    methods: dict[tuple[str, str, str], list[str]] = {}
    for run in runs:
        if (method := run.record.method) is not None:
            key = (method.name, method.loss, values_text(method.options))
            methods.setdefault(key, []).append(run.name)
    rows = [
        (name, loss, formula(loss), values, str(len(students)))
        for (name, loss, values), students in methods.items()
    ]
    return _table(
        "methods",
        "Methods",
        f"{NOTATION} The whole of a loss, with its reference, is in its docstring.",
        ("Method", "Loss", "Formula", "Values", "Students"),
        rows,
        labels=4,
        prose=(2, 3),
    )


def formula(loss: str) -> str:
    """What a loss computes: the first sentence of its documentation; of a user's own its name."""
    if loss not in LOSSES:
        return f"own code: {loss}"
    return (inspect.getdoc(resolve(loss)) or loss).splitlines()[0].removesuffix(".")


def recipes_table(runs: Sequence[Run]) -> Table:
    """Each recipe that networks were trained by, whole: defaults included."""
    recipes: dict[str, list[str]] = {}
    for run in (run for run in runs if not run.is_imported):
        augmentation = values_text(run.record.augmentation)
        text = f"{values_text(run.training)}; augmentation: {augmentation}"
        recipes.setdefault(text, []).append(f"{run.section}.{run.name}")
    rows = [(str(len(names)), text, names_text(names, runs)) for text, names in recipes.items()]
    return _table(
        "recipes",
        "Recipes",
        "Optimiser: SGD. Of a schedule only its own options count: factor and milestones of step, warmup of "
        "one_cycle (docs/parameters.md).",
        ("Networks", "Recipe", "Which"),
        rows,
        labels=3,
        prose=(1, 2),
    )


def names_text(names: Collection[str], runs: Sequence[Run]) -> str:
    """Which of the runs some are, in few words: `all 12 students`, `all teachers but a, b`, or their names.

    Args:
        names: each as `section.name`.
    """
    parts = []
    for section in dict.fromkeys(run.section for run in runs):
        everyone = [run.name for run in runs if run.section == section]
        chosen = [name for name in everyone if f"{section}.{name}" in names]
        others = [name for name in everyone if name not in chosen]
        if len(everyone) > 1 and not others:
            parts.append(f"all {len(everyone)} {section}")
        elif chosen and others and 4 * len(others) < len(everyone):
            parts.append(f"all {section} but {', '.join(others)}")
        else:
            parts += [f"{section}.{name}" for name in chosen]
    return ", ".join(parts)


def sources_table(runs: Sequence[Run], data: ImageData) -> Table:
    """Digests of the data set, and of the teachers and stores that students learned from."""
    rows = {("Data set", data.name, "fingerprint of images, labels, class names", data.fingerprint)}
    for run in runs:
        if (teacher := run.record.teacher) is None:
            continue
        weights = teacher.weights_sha256 or MISSING
        rows.add(("Teacher", teacher.name, "sha256 of the weights", weights))
        for group, digest in teacher.store.items():
            views = teacher.views.get(group)
            read = "" if views is None else f", {views.views} views read"
            rows.add(("Store", teacher.name, f"manifest of {group}{read}", digest))
    return _table(
        "sources",
        "What was learned from",
        CODECS,
        ("What", "Name", "Of", "Digest"),
        sorted(rows),
        labels=4,
        prose=(3,),
    )


def weights_table(runs: Sequence[Run]) -> Table:
    """Seed and digest of the weights of every trained network."""
    rows = [
        (run.name, run.section, str(replicate.seed), replicate.weights_sha256)
        for run in runs
        for replicate in run.record.replicates
    ]
    return _table(
        "weights",
        "Seeds and weights",
        "A row a replicate; sha256 over the weights' names, shapes and values, not of a file.",
        ("Name", "Section", "Seed", "sha256"),
        rows,
        labels=4,
        prose=(3,),
    )


def versions_table(runs: Sequence[Run]) -> Table:
    """Versions and devices of the networks whose timing was kept."""
    found: dict[tuple[str, ...], set[str]] = {}
    for run in runs:
        timing = None if run.kept is None else run.kept.timing
        for replicate in () if timing is None else timing.replicates:
            facts = (str(replicate.get(name, MISSING)) for name in ("device", "precision", "steps"))
            versions = json.dumps(replicate.get("versions", {}), sort_keys=True)
            key = (values_text(json.loads(versions)), *facts)
            found.setdefault(key, set()).add(f"{run.section}.{run.name}")
    rows = [(*key, names_text(names, runs)) for key, names in sorted(found.items())]
    return _table(
        "versions",
        "Versions and devices",
        "Of kept results; other records hold neither, so that two equal trainings leave equal files.",
        ("Versions", "Device", "Precision", "Steps", "Networks"),
        rows,
        labels=5,
        prose=(0, 4),
    )


def _table(
    name: str,
    title: str,
    caption: str,
    header: tuple[str, ...],
    rows: Iterable[Sequence[str]],
    **parts: Any,
) -> Table:
    columns = list(zip(*rows, strict=True))
    data = pd.DataFrame(dict(zip(header, columns, strict=True)) if columns else {}, columns=header)
    return Table(
        name=name,
        title=title,
        caption=caption,
        header=header,
        rows=text_rows(*columns),
        data=data,
        **parts,
    )
