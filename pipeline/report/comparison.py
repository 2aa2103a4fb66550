"""The tables of comparisons: methods on the pairs that they share, and numbers of views."""

import pandas as pd

from pipeline.evaluation.comparison import MIN_PAIRS, comparisons, views_compared
from pipeline.evaluation.frame import Results, rows_of
from pipeline.evaluation.numbers import MISSING, signed, spread_text
from pipeline.report.tables import Cell, Table, cells


def comparison_table(results: Results, setting: str) -> Table | None:
    """A row for each comparison; bold where the interval excludes zero. None without any."""
    compared = comparisons(results)
    if compared.empty:
        return None
    return Table(
        name="comparison",
        title="Methods compared on the pairs that they share",
        caption=f"{setting} Difference of mean top-1 accuracies in percentage points, its mean over pairs "
        "of teacher and student (networks, for hard labels), and the 95 % percentile interval of "
        "10,000 bootstrap resamples of the pairs; bold: the interval excludes zero. Better: pairs with "
        "a positive difference. Few pairs make the interval too narrow; fewer than "
        f"{MIN_PAIRS} have none.",
        header=("Method", "Against", "Pairs", "Better", "Difference", "95 % interval"),
        rows=tuple(
            (
                *cells(row.method, row.against, str(row.pairs), str(row.better)),
                Cell(signed(row.difference), bold=row.interval.excludes_zero),
                Cell(MISSING if pd.isna(row.low) else f"{signed(row.low)} to {signed(row.high)}"),
            )
            for row in rows_of(compared)
        ),
        data=compared.drop(columns="interval"),
        labels=2,
    )


def view_table(results: Results, setting: str) -> Table | None:
    """A row for each number of views of a configuration that was run with several; None without any."""
    compared = views_compared(results)
    if compared.empty:
        return None
    return Table(
        name="views",
        title="How many views are enough",
        caption=f"{setting} Top-1 accuracy in percent, mean ± sample deviation over seeds; difference: "
        "from the student that reads all views of the store. As many views as epochs, drawn at random, "
        "are online distillation.",
        header=("Pair", "Student by", "Views", "Top-1", "Difference"),
        rows=tuple(
            cells(
                f"{row.teacher} → {row.student}",
                row.method,
                f"{row.views}{' (all)' * row.all}",
                spread_text(row.top1, row.top1_deviation, 2),
                signed(row.difference),
            )
            for row in rows_of(compared)
        ),
        data=compared.drop(columns="all"),
        labels=2,
    )
