"""The study's tables 1-3 in its own arrangement: what was measured beside what was published."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import pandas as pd

from pipeline.evaluation.frame import Results, rows_of
from pipeline.evaluation.numbers import printed, signed, spread_text
from pipeline.paper.cells import (
    ALONE_COLUMNS,
    KD,
    SOFT_ONLY,
    STUDENT_COLUMNS,
    TEACHER,
    Method,
    pair_cell,
    square_cell,
)
from pipeline.paper.published import BASELINE, TABLE1, TABLE2, TABLE3, read_table, table_pairs
from pipeline.report.tables import Cell, Table, cells

NOT_RUN = "not run"


class Place(NamedTuple):
    """A cell of a table: its row and column, the configuration that belongs there, what was published.

    `student` is "" where a column is one; `wanted` is "" where nothing was run; `published` in percent.
    """

    teacher: str
    student: str
    column: str
    wanted: str
    published: float | None


def measure(results: Results, places: Iterable[Place]) -> pd.DataFrame:
    """A row a place: Place's columns, top1, deviation, replicates, difference (percent; NaN: not run).

    `bold` and `underline` mark nothing yet. The column TEACHER is of the teachers themselves.
    """
    frame = pd.DataFrame(list(places), columns=Place._fields)
    keys = frame["wanted"].tolist()
    measured, teachers = (
        results.measured(keys, of_teachers=of_teachers).reset_index(drop=True)
        for of_teachers in (False, True)
    )
    frame = frame.join(measured.where(frame["column"] != TEACHER, teachers))
    return with_published(frame, frame["published"].astype(float))


def with_published(measured: pd.DataFrame, published: pd.Series) -> pd.DataFrame:
    """Measured numbers beside published ones: `published`, `difference`, and marks that mark nothing yet."""
    difference = measured["top1"] - published
    return measured.assign(published=published, difference=difference, bold=False, underline=False)


def best(top1: pd.Series) -> pd.Series:
    """Which is the highest; several where they are equal as printed, none without a rival."""
    shown = top1.map(printed, na_action="ignore")
    return shown.eq(shown.max()) & (shown.count() > 1)


def measured_cell(place: Any) -> Cell:
    """Mean ± deviation in percent; below it the published number and the difference from it."""
    if pd.isna(place.top1):
        return Cell(NOT_RUN)
    known = not pd.isna(place.published)
    small = f"{place.published:.2f}, {signed(place.difference)}" if known else ""
    text = spread_text(place.top1, place.deviation, 2)
    return Cell(text, bold=place.bold, underline=place.underline, small=small)


def flat(places: pd.DataFrame) -> dict[str, Any]:
    """The cells of a row for machines: five columns each, in percent."""
    return {
        f"{place.column}{ending}": value
        for place in rows_of(places)
        for ending, value in {
            "": NOT_RUN if pd.isna(place.top1) else place.top1,
            "_deviation": place.deviation,
            "_replicates": place.replicates,
            "_published": place.published,
            "_difference": place.difference,
        }.items()
    }


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


def square_places(results: Results, name: str, method: Method) -> pd.DataFrame:
    """The cells of table 1 or 2, measured; a student is a column."""
    cell_of = square_cell(method)
    return measure(
        results,
        (
            Place(row, "", column, str(cell_of(row, column)), number)
            for (row,), numbers in read_table(name).items()
            for column, number in numbers.items()
        ),
    )


def pair_places(results: Results) -> pd.DataFrame:
    """The cells of table 3, measured."""
    return measure(
        results,
        (
            Place(*pair, column, str(pair_cell(*pair, column)), number)
            for pair in table_pairs()
            for column, number in read_table(TABLE3)[pair].items()
        ),
    )


def square_table(results: Results, name: str, method: Method, title: str, setting: str) -> Table:
    """Table 1 or 2: a row for each teacher below the baselines, a column for each student.

    Bold: the best of the teachers' rows in a column.
    """
    places = square_places(results, name, method)
    taught = places[places["teacher"] != BASELINE]
    places.loc[taught.index, "bold"] = taught.groupby("column")["top1"].transform(best)
    return grid_table(
        places,
        ["teacher"],
        name=name,
        title=title,
        caption=caption(
            setting, "Bold: the best teacher of a student. Baseline: the student alone."
        ),
        header=("Teacher", *dict.fromkeys(places["column"])),
    )


def mixup_table(results: Results, setting: str) -> Table:
    """Table 3: a row for each pair.

    Bold: the best of KD and the rescaled columns; underlined: the higher of the two Mix-S.
    """
    titles = {
        TEACHER: "Teacher's",
        "student_acc": "Student baseline",
        **{column: title for column, (title, _) in ALONE_COLUMNS.items()},
        **{column: title for column, (title, _, _) in STUDENT_COLUMNS.items()},
    }
    places = pair_places(results)
    for mark, columns in (("bold", STUDENT_COLUMNS), ("underline", ALONE_COLUMNS)):
        rivals = places[places["column"].isin(columns)]
        highest = rivals.groupby(["teacher", "student"])["top1"].transform(best)
        places.loc[rivals.index, mark] = highest
    return grid_table(
        places,
        ["teacher", "student"],
        name=TABLE3,
        title="Table 3: mixup of students, by KD and by rescaled logits",
        caption=caption(
            setting,
            "Bold: the best of KD and the rescaled columns of a pair; underlined: the higher of the "
            "two baselines trained with mixup (Mix-S). PMU 10 %: exactly that share is mixed.",
        ),
        header=("Teacher", "Student", *(titles[name] for name in dict.fromkeys(places["column"]))),
    )


def wide(places: pd.DataFrame, labels: Sequence[str]) -> pd.DataFrame:
    """Measured places for machines: a row for each value of the label columns."""
    groups = places.groupby(list(labels), sort=False)
    return pd.DataFrame([dict(zip(labels, key, strict=True)) | flat(row) for key, row in groups])


def grid_table(places: pd.DataFrame, labels: Sequence[str], shown: int = 0, **parts: Any) -> Table:
    """A table of measured places: a row for each value of the label columns, of which `shown` are told."""
    columns = labels[: shown or len(labels)]
    rows = []
    for key, row in places.groupby(list(labels), sort=False):
        names = (str(name) for name in key[: len(columns)])
        labelled = cells(*names)
        rows.append((*labelled, *map(measured_cell, rows_of(row))))
    return Table(rows=tuple(rows), data=wide(places, labels), labels=len(columns), **parts)


def caption(setting: str, rules: str) -> str:
    """Caption of a table of measured beside published numbers."""
    return (
        f"{setting} Top-1 accuracy in percent, last epoch, mean ± sample deviation over seeds (given one "
        "teacher and its views); small or in brackets: the published number of this cell, and measured "
        f"minus published. {rules}"
    )
