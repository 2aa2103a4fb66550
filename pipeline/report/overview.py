"""The first screen of the report: what was compared, the best result, what the cache saved."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from pipeline.core.dataset import ImageData
from pipeline.evaluation.numbers import fixed, signed
from pipeline.evaluation.paired import Difference, above_alone
from pipeline.evaluation.runs import Run
from pipeline.report.document import Fact, Overview
from pipeline.report.findings import best_student, findings, row_of, top1_text, verdict
from pipeline.report.gains import gains
from pipeline.report.savings import Savings, savings


def overview(
    runs: Sequence[Run], data: ImageData, frame: pd.DataFrame, networks: pd.DataFrame
) -> Overview:
    """The first screen.

    Args:
        frame: of all results of the runs; networks: a row a network of it (`by_run`).
    """
    above = above_alone(frame, networks)
    facts = [*_best(networks, above), *_largest_gain(networks, above)]
    saved = savings(runs)
    if saved.used:
        facts.append(_saved(saved))
    sentences = findings(frame, networks)
    return Overview(_lead(data, networks), tuple(facts), sentences, gains(frame, networks))


def _lead(data: ImageData, networks: pd.DataFrame) -> str:
    sections = networks["section"].tolist()
    students = networks[networks["section"] == "students"]
    parts = [
        _counted(sections.count("students"), "student")
        + (
            f" by {_counted(students['method'].nunique(), 'method')} from "
            f"{_counted(students['teacher'].nunique(), 'teacher')}"
            if len(students)
            else ""
        ),
        _counted(sections.count("baselines"), "baseline"),
        f"{_counted(sections.count('teachers'), 'teacher')} in all",
    ]
    return (
        f"Compared on {data.name}: {', '.join(parts)}; {_length(networks)}top-1 accuracy on "
        f"{len(data.test.labels):,} {data.evaluated_on} images after the last."
    )


def _length(networks: pd.DataFrame) -> str:
    """How long networks were trained, if any were: `60 to 240 epochs, `."""
    epochs = sorted({int(count) for count in networks["epochs"] if count})
    length = " to ".join(map(str, dict.fromkeys([*epochs[:1], *epochs[-1:]])))
    return f"{length} epochs, " if epochs else ""


def _counted(count: int, name: str) -> str:
    return f"{count} {name}{'s' * (count != 1)}"


def _best(networks: pd.DataFrame, above: Mapping[int, Difference]) -> Iterator[Fact]:
    best = best_student(networks)
    if best is None:
        return
    row, count = row_of(networks, best), int((networks["section"] == "students").sum())
    note = f"{row['teacher']} → {row['network']} by {row['trained_with']}, {_runs(row)}"
    if count > 1:
        note += f"; the highest of {count} on these very images, which flatters it"
    yield Fact("Best student, top-1", f"{top1_text(row)} %", note)
    if (value := above.get(best)) is not None:
        label = f"Above the {row['network']} baseline"
        yield Fact(label, f"{signed(value.mean)} points", verdict(value))


def _largest_gain(networks: pd.DataFrame, above: Mapping[int, Difference]) -> Iterator[Fact]:
    """Where another student than the best one is further above its baseline."""
    students = [run for run in networks.index[networks["section"] == "students"] if run in above]
    most = max(students, key=lambda run: above[run].mean, default=None)
    if most is None or most == best_student(networks):
        return
    row, value = row_of(networks, most), above[most]
    note = f"{row['teacher']} → {row['network']} by {row['trained_with']}, {_runs(row)}; {verdict(value)}"
    yield Fact("Largest gain over a baseline", f"{signed(value.mean)} points", note)


def _runs(row: "pd.Series[Any]") -> str:
    return _counted(int(row["replicates"]), "run")


def _saved(saved: Savings) -> Fact:
    note = (
        f"images through a teacher: {millions(saved.used)} would have gone through it in training, "
        f"{millions(saved.stored)} did for the views that were read"
    )
    return Fact("Teacher passes avoided", millions(saved.avoided), note)


def millions(count: int) -> str:
    """`18.0 million` from a million on, `4.3 billion` from 1e9 on, else all digits."""
    if abs(count) >= 1e9:
        return f"{fixed(count / 1e9, 1)} billion"
    return f"{fixed(count / 1e6, 1)} million" if abs(count) >= 1e6 else f"{count:,}"
