"""Tables beside the study's own: its teachers, teachers with mixup, partial mixup as its released code
draws it, and later methods on its pairs. Each is left out where nothing of it was run."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd

from pipeline.evaluation.comparison import with_kinds
from pipeline.evaluation.frame import Results, rows_of
from pipeline.evaluation.numbers import MISSING, printed, signed, spread_text
from pipeline.evaluation.runs import share_text
from pipeline.paper.cells import (
    ALPHA,
    KD,
    RESCALED,
    SHARES_AS_CODED,
    STUDENT_COLUMNS,
    TEACHER,
    alone,
    pair_cell,
    student,
)
from pipeline.paper.published import BEST_KNOWN, TABLE3, read_table, table_pairs
from pipeline.paper.tables import (
    NOT_RUN,
    Place,
    caption,
    flat,
    grid_table,
    measure,
    measured_cell,
    wide,
    with_published,
)
from pipeline.report.tables import Cell, Table, cells, text_rows

# Loss of a later method -> its column in best_known.csv, where there is one.
LATER_LOSSES = {"zscore": "kd_ls", "dkd": "dkd", "dist": "dist", "mse": None}
LATER_SHARES = (0.0, 0.1, 0.5, 1.0)
EXACT, AS_CODED = "_exact", "_as_coded"


def extra_tables(results: Results, setting: str) -> list[Table]:
    """All tables of this module of which something was run."""
    tables = [
        teacher_table(results, setting),
        mixup_teacher_table(results, setting),
        as_coded_table(results, setting),
        *(later_table(results, loss, setting) for loss in LATER_LOSSES),
    ]
    return [table for table in tables if table is not None]


def teacher_table(results: Results, setting: str) -> Table | None:
    """Accuracy of every teacher beside the one that table 3 publishes."""
    published = {row[0]: numbers[TEACHER] for row, numbers in read_table(TABLE3).items()}
    teachers = results.teachers
    if teachers.empty:
        return None
    plain = teachers.index == teachers["network"].map(lambda name: str(alone(name)))
    known = teachers["network"].map(published).where(plain).reset_index(drop=True)
    teachers = teachers.reset_index(drop=True)
    places = with_published(teachers.assign(column="top1"), known)
    facts = teachers[["network", "mixup_alpha", "variant"]]
    mixup = [MISSING if pd.isna(alpha) else f"alpha {alpha:g}" for alpha in facts["mixup_alpha"]]
    variant = facts["variant"].map(lambda text: f", {text}" if text else "")
    labels = text_rows(facts["network"] + variant, mixup)
    return Table(
        name="teachers",
        title="Teachers",
        caption=caption(setting, "Published: the teachers of table 3."),
        header=("Teacher", "Mixup", "Top-1"),
        rows=tuple(
            (*label, measured_cell(place))
            for label, place in zip(labels, rows_of(places), strict=True)
        ),
        data=facts.join(pd.DataFrame([flat(places.loc[[row]]) for row in places.index])),
        labels=2,
    )


def mixup_teacher_table(results: Results, setting: str) -> Table | None:
    """Every student of a mixup-trained teacher beside its twin of the same teacher without mixup."""
    twins = mixup_twins(results)
    if twins.empty:
        return None
    columns = ["teacher_plain", "teacher_mixup", "student_of_plain", "student_of_mixup"]
    return Table(
        name="mixup_teachers",
        title="Students of teachers that were trained with mixup",
        caption=f"{setting} Top-1 accuracy in percent, mean ± sample deviation over seeds; the last "
        "column is the student of the teacher with mixup minus the one of the teacher without. The "
        "study concludes about such students and tabulates none.",
        header=(
            *("Pair", "Student by", "Teacher, no mixup", "Teacher, mixup"),
            *("Its student, no mixup", "Its student, mixup", "Difference"),
        ),
        rows=text_rows(
            twins["teacher"] + " → " + twins["student"],
            twins["method"],
            *(_numbers(twins[name], twins[f"{name}_deviation"]) for name in columns),
            (twins["student_of_mixup"] - twins["student_of_plain"]).map(signed),
        ),
        data=twins[["teacher", "teacher_alpha", "student", "method", *columns]],
        labels=2,
    )


def mixup_twins(results: Results) -> pd.DataFrame:
    """Students of teachers with mixup: top-1 (percent) of them, their twins and both teachers.

    Beside the facts of `with_kinds`: teacher_plain, teacher_mixup, student_of_plain, student_of_mixup,
    each with `_deviation`; NaN where not run.
    """
    runs = with_kinds(results)
    of_mixup = runs["teacher_network"].notna() & runs["teacher_mixup_alpha"].notna()
    runs = runs[of_mixup & (runs["variant"] == "")].reset_index(drop=True)
    teachers = list(zip(runs["teacher_network"], runs["teacher_mixup_alpha"], strict=True))
    measured = {
        "teacher_plain": results.measured([alone(name) for name, _ in teachers], of_teachers=True),
        "teacher_mixup": results.measured([alone(*key) for key in teachers], of_teachers=True),
        "student_of_plain": results.measured(runs["plain_teacher_twin"].tolist()),
        "student_of_mixup": results.measured(runs["configuration"].tolist()),
    }
    numbers = {
        f"{name}{ending}": table[column].array
        for name, table in measured.items()
        for ending, column in (("", "top1"), ("_deviation", "deviation"))
    }
    return runs.assign(
        method=runs["kind"],
        teacher=runs["teacher_network"],
        teacher_alpha=runs["teacher_mixup_alpha"],
        student=runs["network"],
        **numbers,
    )


def _numbers(top1: pd.Series, deviations: pd.Series) -> list[str]:
    texts = (spread_text(*pair, 2) for pair in zip(top1, deviations, strict=True))
    return [NOT_RUN if text == MISSING else text for text in texts]


def as_coded_table(results: Results, setting: str) -> Table | None:
    """Partial mixup with exactly the share of its name, and with the one that the code really draws."""
    places = measure(results, _as_coded_places())
    drawn = places["top1"].notna() & places["column"].str.endswith(AS_CODED)
    places = places[drawn.groupby([places["teacher"], places["student"]]).transform("any")]
    if places.empty:
        return None
    header = ["Teacher", "Student"]
    for column, coded in SHARES_AS_CODED.items():
        _, _, share = STUDENT_COLUMNS[column]
        header += [f"{share_text(share)} mixed", f"{share_text(coded)} mixed (as coded)", "Closer"]
    rows = []
    for pair, row in places.groupby(["teacher", "student"], sort=False):
        both = list(rows_of(row))
        shown = [
            (measured_cell(exact), measured_cell(coded), Cell(_closer(exact, coded)))
            for exact, coded in zip(both[::2], both[1::2], strict=True)
        ]
        rows.append((*cells(*map(str, pair)), *itertools.chain(*shown)))
    return Table(
        name="table3_as_coded",
        title="Partial mixup: the share of its name, and the share that the released code draws",
        caption=caption(
            setting,
            "The study's code mixes 40.8 % and 60.4 % of the images where its tables say 10 % and "
            "50 % (batch 64); closer: which of the two lies nearer to the published number.",
        ),
        header=tuple(header),
        rows=tuple(rows),
        data=wide(places, ["teacher", "student"]),
        labels=2,
    )


def _as_coded_places() -> Iterator[Place]:
    for pair in table_pairs():
        for column, coded in SHARES_AS_CODED.items():
            number = read_table(TABLE3)[pair][column]
            drawn = student(*pair, RESCALED, coded)
            yield Place(*pair, f"{column}{EXACT}", str(pair_cell(*pair, column)), number)
            yield Place(*pair, f"{column}{AS_CODED}", str(drawn), number)


def _closer(exact: Any, coded: Any) -> str:
    if pd.isna(exact.top1) or pd.isna(coded.top1):
        return MISSING
    gaps = printed(abs(exact.difference)), printed(abs(coded.difference))
    return "both" if gaps[0] == gaps[1] else "exact" if gaps[0] < gaps[1] else "as coded"


def later_table(results: Results, loss: str, setting: str) -> Table | None:
    """A later method on the study's pairs at every share, beside KD.

    A row has the hyper-parameters that its pair was run with; authors may tune them to the pair. A
    pair that was run with several has a row for each.
    """
    runs = results.usual
    plain = runs["teacher_network"].notna() & runs["teacher_mixup_alpha"].isna()
    mixup = runs["mixup_alpha"].isna() | (runs["mixup_alpha"] == ALPHA)
    runs = runs[(runs["loss"] == loss) & plain & mixup & runs["views"].isna()]
    by_pair = dict(iter(runs.groupby(["teacher_network", "network"], sort=False)))
    if by_pair.keys().isdisjoint(table_pairs()):
        return None
    places = pd.concat(
        measure(results, _later_places(loss, pair, of_pair[of_pair["options"] == options])).assign(
            options=options_text([options]) or MISSING
        )
        for pair in table_pairs()
        for of_pair in [by_pair.get(pair, runs[:0])]
        for options in dict.fromkeys(of_pair["options"]) or [""]
    )
    settings = [options for of_pair in by_pair.values() for options in of_pair["options"]]
    several = len(set(settings)) > 1
    return grid_table(
        places,
        ["teacher", "student", "options"],
        shown=3 if several else 2,
        name=f"later_{loss}",
        title=f"Beyond the study: {loss}",
        caption=caption(
            setting,
            f"Hyper-parameters: {options_text(settings)}; mixup alpha {ALPHA:g}. Published: of KD the "
            "study's table 3, else the method's own paper, without mixup; some papers report the best test "
            "epoch, worth 0.3 points on average over the last one. All shares are shown, none is picked.",
        ),
        header=(
            *("Teacher", "Student", *(["By"] if several else []), "KD"),
            *(f"{share_text(share)} mixed" for share in LATER_SHARES),
        ),
    )


def _later_places(loss: str, pair: tuple[str, str], ran: pd.DataFrame) -> Iterator[Place]:
    """One row of `later_table`: KD and each share as they were run, and the published numbers."""
    published = read_table(BEST_KNOWN)[pair]
    by_share = dict(zip(ran["share"], ran["configuration"], strict=True))
    yield Place(*pair, "kd", str(student(*pair, KD)), published["kd"])
    for share in LATER_SHARES:
        number = None if share else published.get(LATER_LOSSES[loss] or "")
        yield Place(*pair, f"{loss}_{share_text(share)}", by_share.get(share, ""), number)


def options_text(settings: Iterable[str]) -> str:
    """Every hyper-parameter with the values that it has in any of the settings."""
    values: dict[str, dict[str, None]] = {}
    for options in settings:
        for option in options.split():
            name, _, value = option.partition("=")
            values.setdefault(name, {})[f"{float(value):g}"] = None
    return ", ".join(f"{name} {' or '.join(texts)}" for name, texts in values.items())
