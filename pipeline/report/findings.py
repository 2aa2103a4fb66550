"""Three sentences on what the students show: the best one against what it has to beat, with intervals."""

from typing import Any

import pandas as pd

from pipeline.evaluation.numbers import signed, spread_text
from pipeline.evaluation.paired import Difference, accuracies, alone_runs, difference
from pipeline.report.page_tables import interval_text

KIND = ["teacher", "network", "recipe"]


def best_student(networks: pd.DataFrame) -> int | None:
    """The run of the student with the highest mean accuracy; None where there are no students."""
    students = networks[networks["section"] == "students"]
    return _highest(students)


def row_of(networks: pd.DataFrame, run: int) -> "pd.Series[Any]":
    """The row of a run."""
    return networks.loc[[run]].iloc[0]


def findings(frame: pd.DataFrame, networks: pd.DataFrame) -> tuple[str, ...]:
    """Of the best student: against its baseline, against KD, and what mixup changed; all of its recipe.

    Args:
        frame: of all results; networks: a row a network of it (`by_run`).
    """
    best = best_student(networks)
    if best is None:
        return ()
    row = row_of(networks, best)
    rivals = networks[(networks["section"] == "students") & (networks.index != best)]
    rivals = rivals[(rivals[KIND] == row[KIND]).all(axis=1)]
    others = [alone_runs(networks).get(best), *_references(row, rivals)]
    chosen = list(dict.fromkeys(run for run in others if run is not None))
    return tuple(_sentence(frame, networks, best, run) for run in chosen)


def _references(row: "pd.Series[Any]", rivals: pd.DataFrame) -> list[int | None]:
    """Plain KD or else the best rival; and the best of the same method whose mixup is another one."""
    kd = rivals[(rivals["loss"] == "kd") & (rivals["share"] == 0) & rivals["views"].isna()]
    same = rivals[(rivals["method"] == row["method"]) & (rivals["views"].isna())]
    of_other_share = same[same["share"] != row["share"]]
    plain = of_other_share[of_other_share["share"] == 0]
    return [
        _highest(rivals if kd.empty else kd),
        _highest(of_other_share if plain.empty else plain),
    ]


def _highest(rows: pd.DataFrame) -> int | None:
    """The run with the highest accuracy, the first of equals; None of none."""
    means = rows["top1_accuracy"].tolist()
    return rows.index.tolist()[means.index(max(means))] if means else None


def _sentence(frame: pd.DataFrame, networks: pd.DataFrame, ours: int, theirs: int) -> str:
    value = difference(accuracies(frame, ours), accuracies(frame, theirs))
    student, other = row_of(networks, ours), row_of(networks, theirs)
    baseline = other["section"] != "students"
    against = f"the {other['network']} baseline" if baseline else str(other["trained_with"])
    way = "above" if value.mean >= 0 else "below"
    return (
        f"{student['teacher']} → {student['network']}: {student['trained_with']} is "
        f"{signed(abs(value.mean)).removeprefix('+')} points {way} {against} "
        f"({top1_text(student)} against {top1_text(other)} %; {_runs(value)}): {verdict(value)}."
    )


def top1_text(row: "pd.Series[Any]") -> str:
    """A network's accuracy in percent, with its deviation where it is known."""
    return spread_text(row["top1_accuracy"], row["top1_accuracy_deviation"], 2, 100.0)


def _runs(value: Difference) -> str:
    if value.values:
        seeds = "seed" if len(value.values) == 1 else "seeds"
        listed = ", ".join(map(signed, value.values[:5]))
        more = ", ..." if len(value.values) > 5 else ""
        return f"paired over {len(value.values)} {seeds}: {listed}{more}"
    ours, theirs = value.runs
    return f"{ours} and {theirs} run{'s' * (max(value.runs) > 1)}, of different seeds"


def verdict(value: Difference) -> str:
    """What the interval of a difference says of it, in words."""
    if value.is_shown is None:
        return "with one run no deviation is known"
    text = f"95 % interval of the difference {interval_text(value)}"
    if not value.is_shown:
        return f"{text}: no difference shown"
    return f"{text}, without zero{' (two seeds may agree by chance)' * (min(value.runs) == 2)}"
