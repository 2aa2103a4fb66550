"""The published numbers: top-1 accuracies on CIFAR-100 in percent.

Choi, Jeon, Shukla, Turaga, "Understanding the Role of Mixup in Knowledge Distillation: An Empirical
Study", WACV 2023, supplementary material, tables 1-3 (`table*.csv`). The tables publish different
numbers for some shared cells, so a number belongs to a table and a cell. `best_known.csv` holds the
strongest published methods on the pairs of table 3: those on logits, and CRD.
"""

import csv
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent
DATASET = "cifar100"

TABLE1, TABLE2, TABLE3 = "table1_kd", "table2_kd_soft_labels_only", "table3_mixup_students"
BEST_KNOWN = "best_known"
BASELINE = "baseline"

RESNETS = ("resnet20", "resnet32", "resnet44", "resnet56", "resnet110")

Numbers = dict[tuple[str, ...], dict[str, float]]


def check_dataset(name: str) -> None:
    """Raise ValueError for results of another data set than the published one."""
    if name != DATASET:
        raise ValueError(
            f"evaluation.paper_tables: the published numbers are of {DATASET}, the data set is {name}; "
            "set evaluation.paper_tables to false"
        )


@cache
def read_table(name: str) -> Numbers:
    """A published table: row key -> column -> percent, in the published order; empty cells left out.

    Rows of tables 1 and 2 have the key (teacher,) or (baseline,), columns are students; rows of the
    others have the key (teacher, student).
    """
    labels = 1 if name in (TABLE1, TABLE2) else 2
    with (FOLDER / f"{name}.csv").open(encoding="ascii", newline="") as file:
        header, *rows = csv.reader(file)
    columns = [c for c in header[labels:] if c not in ("highest_found", "highest_method")]
    return {
        tuple(row[:labels]): {
            column: float(row[header.index(column)])
            for column in columns
            if row[header.index(column)]
        }
        for row in rows
    }


def table_pairs() -> list[tuple[str, str]]:
    """Teacher and student of each row of table 3."""
    return [(row[0], row[1]) for row in read_table(TABLE3)]
