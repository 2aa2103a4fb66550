"""What the page shows beside the numbers of a table's files: differences, published numbers, the best."""

from collections.abc import Mapping
from dataclasses import replace

import pandas as pd

from pipeline.evaluation.numbers import MISSING, fixed, printed, signed
from pipeline.evaluation.paired import KIND, Difference, above_alone
from pipeline.report.tables import Cell, Table

SCORES = ("Top-1", "Top-5", "Agreement", "NLL", "ECE")
LOWER_IS_BETTER = ("NLL", "ECE")


def shown_accuracies(
    table: Table,
    frame: pd.DataFrame,
    networks: pd.DataFrame,
    published: Mapping[int, tuple[str, float]],
) -> Table:
    """The table of accuracies with the best marked, and two columns after Top-1.

    Args:
        table: with a row for each of `networks`.
        frame: of all results; networks: a row a network of it (`by_run`).
        published: run -> where a number of such a network was published, and it, in percent.
    """
    rows = _marked(table, networks)
    differences = map(above_alone(frame, networks).get, networks.index)
    columns = {"Above baseline": list(map(_difference_cell, differences))}
    numbers = [published.get(run) for run in networks.index]
    if any(numbers):
        tops = 100 * networks["top1_accuracy"]
        columns["Published"] = [_published_cell(*pair) for pair in zip(numbers, tops, strict=True)]
    place = table.header.index("Top-1") + 1
    note = (
        " Above baseline: in percentage points of top-1, from the same architecture trained on the labels "
        "by the same recipe, without mixup; small or in brackets: the 95 % t interval, of paired differences "
        "where seeds are shared (none with one run; of two it may be short by chance). Bold: the best mean "
        "among the networks of an architecture and recipe."
    )
    if "Published" in columns:
        note += " Published: the number of the study's table, and ours minus it."
    return replace(
        table,
        caption=table.caption + note,
        header=(*table.header[:place], *columns, *table.header[place:]),
        rows=tuple(
            (*row[:place], *more, *row[place:])
            for row, more in zip(rows, zip(*columns.values(), strict=True), strict=True)
        ),
    )


def _difference_cell(value: Difference | None) -> Cell:
    return Cell(MISSING) if value is None else Cell(signed(value.mean), small=interval_text(value))


def interval_text(value: Difference) -> str:
    """`+0.50 to +2.56`, the 95 % interval in points; nothing where there is none."""
    return "" if value.low is None else f"{signed(value.low)} to {signed(value.high)}"


def _published_cell(number: tuple[str, float] | None, top1: float) -> Cell:
    if number is None:
        return Cell(MISSING)
    where, value = number
    return Cell(fixed(value, 2), small=f"{signed(top1 - value)}, {where}")


def _marked(table: Table, networks: pd.DataFrame) -> list[list[Cell]]:
    """The rows with the best of each architecture and recipe in bold: as printed, and only among rivals."""
    rows = [list(row) for row in table.rows]
    kinds = networks.groupby(KIND, dropna=False).ngroup().tolist()
    for name in SCORES:
        column, sign = table.header.index(name), -1 if name in LOWER_IS_BETTER else 1
        values = [_value(row[column].text) for row in rows]
        for kind in set(kinds):
            rivals = [
                (sign * value, place)
                for place, (value, own) in enumerate(zip(values, kinds, strict=True))
                if own == kind and value is not None
            ]
            best = max((value for value, _ in rivals), default=None)
            for value, place in rivals if len(rivals) > 1 else ():
                if value == best:
                    rows[place][column] = replace(rows[place][column], bold=True)
    return rows


def _value(text: str) -> float | None:
    middle = text.partition(" ")[0]
    return None if middle == MISSING else printed(float(middle), 3)
