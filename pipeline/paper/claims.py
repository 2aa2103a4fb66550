"""The study's claims, each answered from results: yes, no, or not enough runs, with the numbers.

An answer needs a least number of comparisons (MIN_COMPARISONS); the rule of each claim is in its
function. Answers are of means over replicates and weigh no noise: the numbers say how clear they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.evaluation.comparison import bootstrap
from pipeline.evaluation.frame import Results
from pipeline.evaluation.numbers import printed, signed
from pipeline.paper.cells import ALONE_COLUMNS, KD, SOFT_ONLY, STUDENT_COLUMNS, Method, alone
from pipeline.paper.published import BASELINE, RESNETS, TABLE1, TABLE2
from pipeline.paper.tables import best, pair_places, square_places
from pipeline.report.tables import Table, text_rows

CLAIMS = "claims"  # name of the table
MIN_COMPARISONS = 3
CLOSE = 0.5  # percentage points of accuracy: what "close" means in claim 4
YES, NO, UNKNOWN = "yes", "no", "not enough runs"


@dataclass(frozen=True)
class Claim:
    """What is claimed, the answer of the results, and the numbers that it rests on."""

    number: str
    text: str
    answer: str
    numbers: str


def accuracy_claims(results: Results) -> list[Claim]:
    """Claims 1 to 5, which the tables answer."""
    return [
        weak_teacher_hurts(results),
        best_teacher_is_not_always_best(results),
        smaller_teacher_helps(results),
        soft_labels_suffice(results),
        mixup_of_students(results),
    ]


def square_top1(results: Results, name: str, method: Method) -> pd.DataFrame:
    """Mean accuracies (percent) of table 1 or 2, arranged as published: a column a student."""
    places = square_places(results, name, method)
    grid = places.pivot(index="teacher", columns="column", values="top1")
    return grid.loc[list(dict.fromkeys(places["teacher"])), list(RESNETS)]


def known_values(numbers: pd.DataFrame | pd.Series) -> list[float]:
    """What is no NaN, row by row."""
    return [float(value) for value in numbers.to_numpy().ravel() if not np.isnan(value)]


def weak_teacher_hurts(results: Results) -> Claim:
    """Claim 1: yes where most students of resnet20 are below their baseline, in both tables."""
    below, compared = [], []
    for name, method in ((TABLE1, KD), (TABLE2, SOFT_ONLY)):
        top1 = square_top1(results, name, method)
        differences = known_values(top1.loc[RESNETS[0]] - top1.loc[BASELINE])
        below.append(sum(printed(value) < 0 for value in differences))
        compared.append(len(differences))
    most = all(2 * count > total for count, total in zip(below, compared, strict=True))
    return Claim(
        "1",
        "A teacher of low accuracy hurts: students of resnet20 are below their baseline.",
        yes_or_no(most) if min(compared) >= MIN_COMPARISONS else UNKNOWN,
        f"below the baseline: {below[0]} of {compared[0]} by KD (table 1), "
        f"{below[1]} of {compared[1]} by soft labels alone (table 2)",
    )


def best_teacher_is_not_always_best(results: Results) -> Claim:
    """Claim 2: yes where another teacher than the most accurate one gave any student its best."""
    teachers = results.measured([alone(name) for name in RESNETS], of_teachers=True)["top1"]
    known = teachers.set_axis(list(RESNETS)).dropna()
    top1 = square_top1(results, TABLE1, KD)
    most_accurate = str(known.idxmax()) if len(known) else ""
    compared, others = 0, []
    for student in RESNETS:
        by_teacher = top1.loc[known.index, student].dropna()
        if most_accurate in by_teacher and len(by_teacher) > 1:
            compared += 1
            winners = by_teacher.index[best(by_teacher)]
            if most_accurate not in winners:
                others.append(f"{student} by {' and '.join(sorted(winners))}")
    answer = yes_or_no(bool(others)) if compared >= MIN_COMPARISONS else UNKNOWN
    listed = f": {'; '.join(others)}" if others else ""
    return Claim(
        "2",
        "The best teacher is not always the best for a student.",
        answer,
        f"{len(others)} of {compared} students do best with another teacher than the most accurate "
        f"one{f' ({most_accurate})' if compared else ''}{listed}",
    )


def smaller_teacher_helps(results: Results) -> Claim:
    """Claim 3: yes where any student larger than its teacher beats its baseline."""
    top1 = square_top1(results, TABLE1, KD)
    gains = (top1 - top1.loc[BASELINE]).to_dict("index")
    larger = {
        f"{teacher} → {student}": gain
        for place, teacher in enumerate(RESNETS)
        for student in RESNETS[place + 1 :]
        if not np.isnan(gain := gains[teacher][student])
    }
    helped = {pair: gain for pair, gain in larger.items() if printed(gain) > 0}
    listed = "; ".join(f"{pair} {signed(gain)}" for pair, gain in helped.items())
    return Claim(
        "3",
        "A smaller teacher can help a larger student.",
        yes_or_no(bool(helped)) if len(larger) >= MIN_COMPARISONS else UNKNOWN,
        f"{len(helped)} of {len(larger)} pairs with a smaller teacher are above the student's "
        f"baseline{': ' + listed if listed else ''}",
    )


def soft_labels_suffice(results: Results) -> Claim:
    """Claim 4: yes where soft labels alone are within half a point of KD, on the mean of the pairs."""
    both, soft = square_top1(results, TABLE1, KD), square_top1(results, TABLE2, SOFT_ONLY)
    differences = known_values((soft - both).drop(index=BASELINE))
    answer, numbers = UNKNOWN, f"{len(differences)} of 25 pairs run by both"
    if differences:
        interval = bootstrap(differences)
        numbers += f", mean difference {signed(interval.mean)} points"
        if interval.low is not None:
            numbers += f" (95 % interval {signed(interval.low)} to {signed(interval.high)})"
        if len(differences) >= MIN_COMPARISONS:
            answer = yes_or_no(abs(interval.mean) <= CLOSE)
    return Claim(
        "4",
        "Soft labels alone come close to hard and soft labels together (within "
        f"{CLOSE:g} points on the mean of the pairs).",
        answer,
        numbers,
    )


def mixup_of_students(results: Results) -> Claim:
    """Claim 5: yes where it holds for most pairs.

    It holds where a student whose Mix-S is better at alpha 0.2 is best with PMU 10 %, or one whose
    Mix-S is better at alpha 1.0 with PMU 50 % or full mixup, among all methods of table 3.
    """
    holds, exceptions = 0, []
    places = pair_places(results)
    places = places[places["column"].isin([*ALONE_COLUMNS, *STUDENT_COLUMNS])]
    for (teacher, student), row in places.groupby(["teacher", "student"], sort=False):
        top1 = row.set_index("column")["top1"]
        if top1.isna().any():
            continue
        favoured, winners = (
            set(rivals.index[best(rivals)])
            for rivals in (top1[list(ALONE_COLUMNS)], top1[list(STUDENT_COLUMNS)])
        )
        light = "mix_s_alpha_0.2" in favoured and "rescaled_pmu10" in winners
        heavy = "mix_s_alpha_1.0" in favoured and bool(winners & {"rescaled_pmu50", "rescaled_fmu"})
        if light or heavy:
            holds += 1
        else:
            exceptions.append(f"{teacher} → {student}")
    compared = holds + len(exceptions)
    answer = yes_or_no(2 * holds > compared) if compared >= MIN_COMPARISONS else UNKNOWN
    listed = f"; exceptions: {', '.join(exceptions)}" if exceptions else ""
    return Claim(
        "5",
        "Students favoured by mixup of alpha 0.2 alone do best with PMU 10 %, those favoured by 1.0 "
        "with PMU 50 % or full mixup.",
        answer,
        f"holds for {holds} of {compared} pairs of table 3{listed}",
    )


def claims_table(claims: Sequence[Claim], setting: str) -> Table:
    """A row for each claim."""
    data = pd.DataFrame(map(vars, claims))
    return Table(
        name=CLAIMS,
        title="The study's claims, answered from these results",
        caption=f"{setting} Answers are of means over replicates and weigh no noise: the numbers say how "
        f"clear they are. An answer needs at least {MIN_COMPARISONS} comparisons.",
        header=("Claim", "Text", "Answer", "Numbers"),
        rows=text_rows(*(data[name] for name in data)),
        data=data,
        labels=4,
        prose=(1, 3),
    )


def yes_or_no(holds: bool) -> str:
    """`yes` or `no`."""
    return YES if holds else NO
