"""The study's tables 1-3 in its own arrangement: what was measured beside what was published."""

from collections.abc import Mapping, Sequence

from pipeline.paper.cells import (
    ALONE_COLUMNS,
    KD,
    SOFT_ONLY,
    STUDENT_COLUMNS,
    pair_cell,
    square_cell,
)
from pipeline.paper.published import BASELINE, TABLE1, TABLE2, TABLE3, read_table, table_pairs
from pipeline.report.configurations import Options, Results
from pipeline.report.numbers import deviation, fixed, mean, signed, spread
from pipeline.report.tables import Cell, Table, Value, cells

NOT_RUN = "not run"
DIGITS = 2

Measured = Mapping[str, Sequence[float]]  # column -> accuracies in percent, none where not run


def paper_tables(results: Results, setting: str) -> list[Table]:
    """Tables 1, 2 and 3. `setting` goes into the captions."""
    notes = setting + results.note
    return [
        square_table(
            results, TABLE1, KD, "Table 1: students by KD (T = 4, gamma 0.1, alpha 0.9)", notes
        ),
        square_table(
            results, TABLE2, SOFT_ONLY, "Table 2: students by soft labels alone (T = 4)", notes
        ),
        mixup_table(results, notes),
    ]


def square_table(
    results: Results, name: str, method: tuple[str, Options], title: str, setting: str
) -> Table:
    """Table 1 or 2: a row for each teacher below the baselines, a column for each student.

    Bold: the best of the teachers' rows in a column.
    """
    published = read_table(name)
    cell_of = square_cell(method)
    columns = list(next(iter(published.values())))
    measured = {
        row: {column: results.accuracies(cell_of(row, column)) for column in columns}
        for (row,) in published
    }
    best = {
        column: best_of({row: measured[row][column] for row in measured if row != BASELINE})
        for column in columns
    }
    return Table(
        name=name,
        title=title,
        caption=caption(
            setting, "Bold: the best teacher of a student. Baseline: the student alone."
        ),
        header=("Teacher", *columns),
        rows=tuple(
            (
                Cell("alone (baseline)" if row == BASELINE else row),
                *(
                    measured_cell(
                        measured[row][column],
                        published[row,].get(column),
                        bold=row in best[column],
                    )
                    for column in columns
                ),
            )
            for row in measured
        ),
        data=tuple({"teacher": row, **flat(measured[row], published[row,])} for row in measured),
    )


def mixup_table(results: Results, setting: str) -> Table:
    """Table 3: a row for each pair.

    Bold: the best of KD and the rescaled columns; underlined: the higher of the two Mix-S.
    """
    published = read_table(TABLE3)
    columns = list(next(iter(published.values())))
    titles = {
        "teacher_acc": "Teacher's",
        "student_acc": "Student alone",
        **{column: title for column, (title, _) in ALONE_COLUMNS.items()},
        **{column: title for column, (title, _, _) in STUDENT_COLUMNS.items()},
    }
    measured = {pair: pair_results(results, *pair, columns) for pair in table_pairs()}
    return Table(
        name=TABLE3,
        title="Table 3: mixup of students, by KD and by rescaled logits",
        caption=caption(
            setting,
            "Bold: the best of KD and the rescaled columns of a pair; underlined: the higher of the "
            "two students trained alone with mixup (Mix-S). PMU 10 %: exactly that share is mixed.",
        ),
        header=("Teacher", "Student", *(titles[column] for column in columns)),
        rows=tuple(
            (*cells(*pair), *_pair_cells(found, published[pair]))
            for pair, found in measured.items()
        ),
        data=tuple(
            {"teacher": pair[0], "student": pair[1], **flat(found, published[pair])}
            for pair, found in measured.items()
        ),
        labels=2,
    )


def _pair_cells(measured: Measured, published: Mapping[str, float]) -> list[Cell]:
    best = best_of({column: measured[column] for column in STUDENT_COLUMNS})
    higher = best_of({column: measured[column] for column in ALONE_COLUMNS})
    return [
        measured_cell(
            values, published.get(column), bold=column in best, underline=column in higher
        )
        for column, values in measured.items()
    ]


def pair_results(
    results: Results, teacher: str, network: str, columns: Sequence[str]
) -> dict[str, tuple[float, ...]]:
    """Accuracies (percent) of one row of table 3."""
    return {
        column: results.teacher_accuracies(teacher)
        if column == "teacher_acc"
        else results.accuracies(pair_cell(teacher, network, column))
        for column in columns
    }


def square_results(
    results: Results, name: str, method: tuple[str, Options]
) -> dict[tuple[str, str], float]:
    """(row, column) -> mean accuracy (percent) of the cells of table 1 or 2 that were run."""
    cell_of = square_cell(method)
    found = {
        (row, column): mean(results.accuracies(cell_of(row, column)))
        for (row,), columns in read_table(name).items()
        for column in columns
    }
    return {key: value for key, value in found.items() if value is not None}


def best_of(measured: Measured) -> set[str]:
    """Names of the highest mean; several where they are equal as printed, none without a rival."""
    means = {
        name: float(fixed(value, DIGITS))
        for name, value in ((name, mean(values)) for name, values in measured.items())
        if value is not None
    }
    return (
        {name for name in means if means[name] == max(means.values())} if len(means) > 1 else set()
    )


def measured_cell(
    accuracies: Sequence[float],
    published: float | None,
    *,
    bold: bool = False,
    underline: bool = False,
) -> Cell:
    """Mean ± deviation in percent; below it the published number and the difference from it."""
    middle = mean(accuracies)
    if middle is None:
        return Cell(NOT_RUN)
    small = "" if published is None else f"{published:.2f}, {signed(middle - published)}"
    return Cell(spread(accuracies, DIGITS), bold=bold, underline=underline, small=small)


def flat(measured: Measured, published: Mapping[str, float]) -> dict[str, Value]:
    """The cells of a row for machines: five columns each, in percent."""
    facts: dict[str, Value] = {}
    for column, values in measured.items():
        middle, number = mean(values), published.get(column)
        facts[column] = NOT_RUN if middle is None else middle
        facts[f"{column}_deviation"] = deviation(values)
        facts[f"{column}_replicates"] = len(values)
        facts[f"{column}_published"] = number
        facts[f"{column}_difference"] = (
            None if middle is None or number is None else middle - number
        )
    return facts


def caption(setting: str, rules: str) -> str:
    """Caption of a table of measured beside published numbers."""
    return (
        f"{setting} Top-1 accuracy in percent, last epoch, mean ± sample deviation over seeds (given one "
        f"teacher and its views); small: the published number of this cell, and measured minus "
        f"published. {rules}"
    )
