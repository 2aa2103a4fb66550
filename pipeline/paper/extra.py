"""Tables beside the study's own: its teachers, teachers with mixup, partial mixup as its released code
draws it, and later methods on its pairs. Each is left out where nothing of it was run."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from pipeline.paper.cells import (
    ALPHA,
    KD,
    RESCALED,
    SHARES_AS_CODED,
    STUDENT_COLUMNS,
    alone,
    pair_cell,
    student,
)
from pipeline.paper.published import BEST_KNOWN, TABLE3, read_table, table_pairs
from pipeline.paper.tables import caption, flat, measured_cell
from pipeline.report.comparison import kinds
from pipeline.report.configurations import Configuration, Options, Results
from pipeline.report.numbers import MISSING, fixed, mean, signed, spread
from pipeline.report.runs import share_text
from pipeline.report.tables import Cell, Table, Value, cells

# Loss of a later method -> its column in best_known.csv, where there is one.
LATER_LOSSES = {"zscore": "kd_ls", "dkd": "dkd", "dist": "dist", "mse": None}
LATER_SHARES = (0.0, 0.1, 0.5, 1.0)

Measured = dict[str, tuple[float, ...]]  # percent, one a replicate


def extra_tables(results: Results, setting: str) -> list[Table]:
    """All tables of this module of which something was run."""
    found = [
        teacher_table(results, setting),
        mixup_teacher_table(results, setting),
        as_coded_table(results, setting),
        *(later_table(results, loss, setting) for loss in LATER_LOSSES),
    ]
    return [table for table in found if table is not None]


def teacher_table(results: Results, setting: str) -> Table | None:
    """Accuracy of every teacher beside the one that table 3 publishes."""
    published = {row[0]: numbers["teacher_acc"] for row, numbers in read_table(TABLE3).items()}
    rows, data = [], []
    for wanted in results.teachers:
        accuracies = results.teacher_accuracies(wanted.network, wanted.alpha)
        number = published.get(wanted.network) if wanted == alone(wanted.network) else None
        mixup = MISSING if wanted.alpha is None else f"alpha {wanted.alpha:g}"
        rows.append((*cells(wanted.network, mixup), measured_cell(accuracies, number)))
        numbers = {} if number is None else {"top1": number}
        facts: dict[str, Value] = {"network": wanted.network, "mixup_alpha": wanted.alpha}
        data.append(facts | flat({"top1": accuracies}, numbers))
    if not rows:
        return None
    return Table(
        name="teachers",
        title="Teachers",
        caption=caption(setting, "Published: the teachers of table 3."),
        header=("Teacher", "Mixup", "Top-1"),
        rows=tuple(rows),
        data=tuple(data),
        labels=2,
    )


def mixup_teacher_table(results: Results, setting: str) -> Table | None:
    """Every student of a mixup-trained teacher beside its twin of the same teacher without mixup."""
    methods = kinds(results)
    data = [
        _twins(results, wanted, wanted.teacher, str(methods[wanted]))
        for wanted in results.usual
        if wanted.teacher is not None and wanted.teacher_alpha is not None
    ]
    if not data:
        return None
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
        rows=tuple(_twin_row(facts, measured) for facts, measured in data),
        data=tuple(
            facts | {name: mean(values) for name, values in measured.items()}
            for facts, measured in data
        ),
        labels=2,
    )


def _twins(
    results: Results, wanted: Configuration, teacher: str, method: str
) -> tuple[dict[str, Value], Measured]:
    facts: dict[str, Value] = {
        "teacher": teacher,
        "teacher_alpha": wanted.teacher_alpha,
        "student": wanted.network,
        "method": method,
    }
    measured = {
        "teacher_plain": results.teacher_accuracies(teacher),
        "teacher_mixup": results.teacher_accuracies(teacher, wanted.teacher_alpha),
        "student_of_plain": results.accuracies(wanted.of_plain_teacher()),
        "student_of_mixup": results.accuracies(wanted),
    }
    return facts, measured


def _twin_row(facts: dict[str, Value], measured: Measured) -> tuple[Cell, ...]:
    return cells(
        f"{facts['teacher']} → {facts['student']}",
        str(facts["method"]),
        *map(_number, measured.values()),
        _difference(measured["student_of_mixup"], measured["student_of_plain"]),
    )


def as_coded_table(results: Results, setting: str) -> Table | None:
    """Partial mixup with exactly the share of its name, and with the one that the code really draws."""
    rows, data = [], []
    for teacher, network in table_pairs():
        numbers = read_table(TABLE3)[teacher, network]
        row, facts = list(cells(teacher, network)), _names(teacher, network)
        any_run = False
        for column, coded in SHARES_AS_CODED.items():
            exact = results.accuracies(pair_cell(teacher, network, column))
            drawn = results.accuracies(student(teacher, network, RESCALED, coded))
            any_run |= bool(drawn)
            row += [measured_cell(values, numbers[column]) for values in (exact, drawn)]
            row.append(Cell(_closer(exact, drawn, numbers[column])))
            both = {f"{column}_exact": exact, f"{column}_as_coded": drawn}
            facts |= flat(both, dict.fromkeys(both, numbers[column]))
        if any_run:
            rows.append(tuple(row))
            data.append(facts)
    if not rows:
        return None
    header = ["Teacher", "Student"]
    for column, coded in SHARES_AS_CODED.items():
        _, _, share = STUDENT_COLUMNS[column]
        header += [f"{share_text(share)} mixed", f"{share_text(coded)} mixed (as coded)", "Closer"]
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
        data=tuple(data),
        labels=2,
    )


def later_table(results: Results, loss: str, setting: str) -> Table | None:
    """A later method on the study's pairs at every share, beside KD.

    A row has the hyper-parameters that its pair was run with; authors may tune them to the pair. A
    pair that was run with several has a row for each.
    """
    found: dict[tuple[str, str], dict[Options, dict[float, Configuration]]] = {}
    for one in results.usual:
        if one.loss == loss and one.teacher and one.teacher_alpha is None and one.views is None:
            settings = found.setdefault((one.teacher, one.network), {})
            settings.setdefault(one.options, {})[one.share] = one
    if found.keys().isdisjoint(table_pairs()):
        return None
    rows, data = [], []
    for pair in table_pairs():
        for chosen, runs in found.get(pair, {(): {}}).items():
            measured, numbers = _later_numbers(results, loss, pair, runs)
            shown = [measured_cell(values, numbers.get(key)) for key, values in measured.items()]
            text = _options([chosen]) or MISSING
            rows.append((*cells(*pair, text), *shown))
            data.append(_names(*pair) | {"options": text} | flat(measured, numbers))
    everything = [chosen for settings in found.values() for chosen in settings]
    table = Table(
        name=f"later_{loss}",
        title=f"Beyond the study: {loss}",
        caption=caption(
            setting,
            f"Hyper-parameters: {_options(everything)}; mixup alpha {ALPHA:g}. Published: the "
            "method's own paper, without mixup; some papers report the best test epoch, worth 0.3 points "
            "on average over the last one. All shares are shown, none is picked.",
        ),
        header=(
            "Teacher",
            "Student",
            "By",
            "KD",
            *(f"{share_text(s)} mixed" for s in LATER_SHARES),
        ),
        rows=tuple(rows),
        data=tuple(data),
        labels=3,
    )
    return table if len(set(everything)) > 1 else _without_column(table, 2)


def _later_numbers(
    results: Results, loss: str, pair: tuple[str, str], runs: Mapping[float, Configuration]
) -> tuple[Measured, dict[str, float]]:
    """One row of `later_table`: KD and each share as they were run, and the published numbers."""
    measured: Measured = {"kd": results.accuracies(student(*pair, KD))}
    for share in LATER_SHARES:
        wanted = runs.get(share)
        accuracies = () if wanted is None else results.accuracies(wanted)
        measured[f"{loss}_{share_text(share)}"] = accuracies
    known, column = read_table(BEST_KNOWN)[pair], LATER_LOSSES[loss]
    numbers = {"kd": known["kd"]}
    if column in known:
        numbers[f"{loss}_{share_text(0.0)}"] = known[column]
    return measured, numbers


def _without_column(table: Table, index: int) -> Table:
    """The same without one of the columns of labels."""
    return replace(
        table,
        header=(*table.header[:index], *table.header[index + 1 :]),
        rows=tuple((*row[:index], *row[index + 1 :]) for row in table.rows),
        labels=table.labels - 1,
    )


def _names(teacher: str, network: str) -> dict[str, Value]:
    return {"teacher": teacher, "student": network}


def _options(settings: Iterable[Options]) -> str:
    """Every hyper-parameter with the values that it has in any of the settings."""
    values: dict[str, list[str]] = {}
    for one in settings:
        for name, value in one:
            text = f"{value:g}"
            if text not in values.setdefault(name, []):
                values[name].append(text)
    return ", ".join(f"{name} {' or '.join(texts)}" for name, texts in values.items())


def _number(values: Sequence[float]) -> str:
    return spread(values, 2) if values else "not run"


def _difference(first: Sequence[float], second: Sequence[float]) -> str:
    one, other = mean(first), mean(second)
    return MISSING if one is None or other is None else signed(one - other)


def _closer(exact: Sequence[float], coded: Sequence[float], published: float) -> str:
    one, other = mean(exact), mean(coded)
    if one is None or other is None:
        return MISSING
    gaps = fixed(abs(one - published), 2), fixed(abs(other - published), 2)
    if gaps[0] == gaps[1]:
        return "both"
    return "exact" if float(gaps[0]) < float(gaps[1]) else "as coded"
