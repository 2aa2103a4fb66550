"""Which configuration each cell of the study's tables asks for."""

from collections.abc import Callable
from functools import cache

import pandas as pd

from pipeline.evaluation.configurations import Configuration, options
from pipeline.paper.published import BASELINE, TABLE1, TABLE2, TABLE3, read_table

Method = tuple[str, str]  # loss and options, as a `Configuration` has them
KD: Method = ("kd", options(temperature=4.0, gamma=0.1, alpha=0.9))
SOFT_ONLY: Method = ("kd_soft_only", options(temperature=4.0))
RESCALED: Method = ("rescaled", options(gamma=0.1, alpha=0.9))

# The mixup of every student in table 3, and of the networks in figures 1-3.
ALPHA = 1.0

TEACHER = "teacher_acc"  # the column of table 3 that is of the teacher itself
# column of table 3 -> (title, method, share of mixed images)
STUDENT_COLUMNS: dict[str, tuple[str, Method, float]] = {
    "kd": ("KD", KD, 0.0),
    "rescaled_no_mixup": ("Rescaled, no mixup", RESCALED, 0.0),
    "rescaled_pmu10": ("Rescaled, PMU 10 %", RESCALED, 0.1),
    "rescaled_pmu50": ("Rescaled, PMU 50 %", RESCALED, 0.5),
    "rescaled_fmu": ("Rescaled, FMU", RESCALED, 1.0),
}
ALONE_COLUMNS: dict[str, tuple[str, float]] = {
    "mix_s_alpha_0.2": ("Mix-S, alpha 0.2", 0.2),
    "mix_s_alpha_1.0": ("Mix-S, alpha 1.0", 1.0),
}
# The shares that the study's released code really draws for its 10 % and 50 % (at batch 64).
SHARES_AS_CODED = {"rescaled_pmu10": 0.408, "rescaled_pmu50": 0.604}


def alone(network: str, alpha: float | None = None) -> Configuration:
    """A network on hard labels, all of its images mixed where alpha is given."""
    return Configuration(network=network, share=0.0 if alpha is None else 1.0, mixup_alpha=alpha)


def student(teacher: str, network: str, method: Method, share: float = 0.0) -> Configuration:
    """A student of a teacher that was trained without mixup."""
    loss, values = method
    return Configuration(
        network=network,
        loss=loss,
        options=values,
        share=share,
        mixup_alpha=ALPHA if share else None,
        teacher_network=teacher,
    )


def square_cell(method: Method) -> Callable[[str, str], Configuration]:
    """Row and column of table 1 or 2 -> the cell's configuration."""

    def cell(row: str, column: str) -> Configuration:
        return alone(column) if row == BASELINE else student(row, column, method)

    return cell


def pair_cell(teacher: str, network: str, column: str) -> Configuration:
    """Row and column of table 3 -> the cell's configuration."""
    if column == TEACHER:
        return alone(teacher)
    if column == "student_acc":
        return alone(network)
    if column in ALONE_COLUMNS:
        return alone(network, ALONE_COLUMNS[column][1])
    _, method, share = STUDENT_COLUMNS[column]
    return student(teacher, network, method, share)


def published_of(networks: pd.DataFrame) -> dict[int, tuple[str, float]]:
    """Run -> the published number of its configuration, where there is one (`published_numbers`).

    Args:
        networks: a row a network, as `by_run` gives them, which may stand beside published ones.
    """
    numbers = published_numbers()
    keys = zip(networks.index.tolist(), networks["configuration"], strict=True)
    return {run: numbers[key] for run, key in keys if key in numbers}


@cache
def published_numbers() -> dict[str, tuple[str, float]]:
    """Configuration -> the table that publishes an accuracy of it, and the accuracy in percent.

    Of several tables the last counts: table 3 is the study's own comparison.
    """
    numbers: dict[str, tuple[str, float]] = {}
    for name, table, method in (("table 1", TABLE1, KD), ("table 2", TABLE2, SOFT_ONLY)):
        cell_of = square_cell(method)
        for (row,), columns in read_table(table).items():
            for column, value in columns.items():
                numbers[str(cell_of(row, column))] = (name, value)
    for (teacher, network), columns in read_table(TABLE3).items():
        for column, value in columns.items():
            numbers[str(pair_cell(teacher, network, column))] = ("table 3", value)
    return numbers
