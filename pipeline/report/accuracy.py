"""The table of every network's accuracy, and whether all networks reach their floor."""

from collections.abc import Sequence

from pipeline.report.calibration import ECE_BINS
from pipeline.report.numbers import MISSING, deviation, mean, percent, spread
from pipeline.report.params import Floors
from pipeline.report.runs import Run, describe, share_text
from pipeline.report.scores import Scores
from pipeline.report.tables import Cell, Table, Value, cells

KINDS = {"teachers": "teacher", "baselines": "alone", "students": "student"}
SCORES = ("top1_accuracy", "top5_accuracy", "agreement", "nll", "ece")
CALIBRATION = ("nll", "ece", "kl", "temperature", "fitted_nll", "fitted_ece", "fitted_kl")
SCALES = {"rescaled": "divided by deviation", "zscore": "standardised"}


def accuracy_table(scores: Sequence[Scores], caption: str) -> Table:
    """One row a network configuration: mean and deviation over its replicates."""
    return Table(
        name="accuracy",
        title="Accuracy of every network",
        caption=f"{caption} Mean ± sample deviation over the replicates (seeds), last epoch. Top-1, "
        "top-5, agreement (with the teacher's predictions) and ECE in percent, NLL in nats, both on "
        "the scale that the method trains. Differences within the deviation say nothing.",
        header=(
            "Name",
            "Kind",
            "Network",
            "Trained with",
            "Teacher",
            "Mixed",
            "Runs",
            "Top-1",
            "Top-5",
            "Agreement",
            "NLL",
            "ECE",
        ),
        rows=tuple(_row(one) for one in scores),
        data=tuple(_data(one) for one in scores),
        labels=5,
    )


def _row(scores: Scores) -> tuple[Cell, ...]:
    run, values = scores.run, scores.values
    return cells(
        run.name,
        KINDS[run.section],
        run.network,
        method_text(run),
        run.teacher or MISSING,
        share_text(run.share),
        str(run.count),
        percent(values["top1_accuracy"]),
        percent(values["top5_accuracy"]),
        percent(values.get("agreement", ())),
        spread(values["nll"], 3),
        percent(values["ece"]),
    )


def method_text(run: Run) -> str:
    """The method of a student; for a network trained on hard labels, whether with mixup."""
    if run.section == "students" or run.mixup_alpha is None:
        return run.method
    return f"{run.method}, mixup alpha {run.mixup_alpha:g}"


def _data(scores: Scores) -> dict[str, Value]:
    run = scores.run
    facts: dict[str, Value] = {
        "section": run.section,
        "name": run.name,
        "network": run.network,
        "parameters": run.record.parameters,
        "teacher": run.teacher,
        "method": run.method,
        "share": run.share,
        "mixup_alpha": run.mixup_alpha,
        "epochs": run.epochs,
        "replicates": run.count,
    }
    return facts | _numbers(scores, SCORES)


def _numbers(scores: Scores, names: Sequence[str]) -> dict[str, Value]:
    facts: dict[str, Value] = {}
    for name in names:
        facts[name] = mean(scores.get(name))
        facts[f"{name}_deviation"] = deviation(scores.get(name))
    return facts


def calibration_table(scores: Sequence[Scores], caption: str) -> Table:
    """A row for each network: likelihood and calibration, then after fitting a temperature."""
    return Table(
        name="calibration",
        title="Likelihood and calibration",
        caption=f"{caption} NLL and KL (teacher || student) in nats, ECE with {ECE_BINS} bins in "
        "percent; mean ± sample deviation over the replicates. Logits are on the scale that the method "
        "trains: rescaled ones divided by their deviation, standardised ones shifted and scaled, all "
        "others as they are. Fitted: divided by the temperature that minimises the NLL of a fixed "
        "sample of training images (none where all of them are right).",
        header=(
            *("Name", "Trained with", "Scale", "NLL", "ECE", "KL"),
            *("Temperature", "Fitted NLL", "Fitted ECE", "Fitted KL"),
        ),
        rows=tuple(
            cells(
                one.run.name,
                describe(one.run),
                SCALES.get(one.run.loss or "", "raw"),
                *(
                    percent(one.get(name)) if name.endswith("ece") else spread(one.get(name), 3)
                    for name in CALIBRATION
                ),
            )
            for one in scores
        ),
        data=tuple(
            {
                "section": one.run.section,
                "name": one.run.name,
                **_numbers(one, CALIBRATION),
            }
            for one in scores
        ),
        labels=3,
    )


def short_table(scores: Sequence[Scores], caption: str) -> Table:
    """The columns that fit on a terminal."""
    return Table(
        name="accuracy",
        title="Accuracy of every network",
        caption=f"{caption} Top-1, agreement with the teacher and ECE in percent, NLL in nats: mean ± "
        "sample deviation over the runs. Differences within the deviation say nothing.",
        header=("Kind", "Name", "Runs", "Top-1", "Agreement", "NLL", "ECE"),
        rows=tuple(
            cells(
                KINDS[one.run.section],
                one.run.name,
                str(one.run.count),
                percent(one.values["top1_accuracy"]),
                percent(one.values.get("agreement", ()), 1),
                spread(one.values["nll"], 3),
                percent(one.values["ece"], 1),
            )
            for one in scores
        ),
        data=(),
        labels=2,
    )


def below_floor(runs: Sequence[Run], floors: Floors) -> list[str]:
    """A line for each network of which a replicate misses the floor of its section."""
    lines = []
    for run in runs:
        floor, lowest = getattr(floors, run.section), min(run.top1_accuracies)
        if floor is not None and lowest < floor:
            lines.append(
                f"{run.section}.{run.name} ({describe(run)}): top-1 accuracy {100 * lowest:.2f} % is "
                f"below the floor of {100 * floor:g} % (evaluation.floors.{run.section})"
            )
    return lines
