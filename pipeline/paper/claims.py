"""The study's claims, each answered from results: yes, no, or not enough runs, with the numbers.

An answer needs a least number of comparisons (MIN_COMPARISONS); the rule of each claim is in its
function. Answers are of means over replicates and weigh no noise: the numbers say how clear they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.paper.cells import ALONE_COLUMNS, KD, SOFT_ONLY, STUDENT_COLUMNS
from pipeline.paper.published import BASELINE, RESNETS, TABLE1, TABLE2, table_pairs
from pipeline.paper.tables import best_of, pair_results, square_results
from pipeline.report.comparison import bootstrap
from pipeline.report.configurations import Results
from pipeline.report.numbers import fixed, mean, signed
from pipeline.report.tables import Table, cells

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


def weak_teacher_hurts(results: Results) -> Claim:
    """Claim 1: yes where most students of resnet20 are below their baseline, in both tables."""
    counts, compared = [], []
    for name, method in ((TABLE1, KD), (TABLE2, SOFT_ONLY)):
        found = square_results(results, name, method)
        differences = [
            found[RESNETS[0], column] - found[BASELINE, column]
            for column in RESNETS
            if (RESNETS[0], column) in found and (BASELINE, column) in found
        ]
        counts.append(sum(rounded(value) < 0 for value in differences))
        compared.append(len(differences))
    answer = (
        UNKNOWN
        if min(compared) < MIN_COMPARISONS
        else yes_or_no(all(2 * below > all_ for below, all_ in zip(counts, compared, strict=True)))
    )
    return Claim(
        "1",
        "A teacher of low accuracy hurts: students of resnet20 are below their baseline.",
        answer,
        f"below the baseline: {counts[0]} of {compared[0]} by KD (table 1), "
        f"{counts[1]} of {compared[1]} by soft labels alone (table 2)",
    )


def best_teacher_is_not_always_best(results: Results) -> Claim:
    """Claim 2: yes where another teacher than the most accurate one gave any student its best."""
    found = square_results(results, TABLE1, KD)
    teachers = {name: mean(results.teacher_accuracies(name)) for name in RESNETS}
    known = {name: value for name, value in teachers.items() if value is not None}
    best = max(known, key=lambda name: known[name]) if known else ""
    compared, others = 0, []
    for column in RESNETS:
        cells_of = {row: (found[row, column],) for row in known if (row, column) in found}
        if best in cells_of and len(cells_of) > 1:
            compared += 1
            winners = best_of(cells_of)
            if best not in winners:
                others.append(f"{column} by {' and '.join(sorted(winners))}")
    answer = yes_or_no(bool(others)) if compared >= MIN_COMPARISONS else UNKNOWN
    listed = f": {'; '.join(others)}" if others else ""
    return Claim(
        "2",
        "The best teacher is not always the best for a student.",
        answer,
        f"{len(others)} of {compared} students do best with another teacher than the most accurate "
        f"one{f' ({best})' if compared else ''}{listed}",
    )


def smaller_teacher_helps(results: Results) -> Claim:
    """Claim 3: yes where any student larger than its teacher beats its baseline."""
    found = square_results(results, TABLE1, KD)
    differences = {
        f"{teacher} → {network}": found[teacher, network] - found[BASELINE, network]
        for i, teacher in enumerate(RESNETS)
        for network in RESNETS[i + 1 :]
        if (teacher, network) in found and (BASELINE, network) in found
    }
    helped = {name: value for name, value in differences.items() if rounded(value) > 0}
    answer = yes_or_no(bool(helped)) if len(differences) >= MIN_COMPARISONS else UNKNOWN
    listed = "; ".join(f"{name} {signed(value)}" for name, value in helped.items())
    return Claim(
        "3",
        "A smaller teacher can help a larger student.",
        answer,
        f"{len(helped)} of {len(differences)} pairs with a smaller teacher are above the student's "
        f"baseline{': ' + listed if listed else ''}",
    )


def soft_labels_suffice(results: Results) -> Claim:
    """Claim 4: yes where soft labels alone are within half a point of KD, on the mean of the pairs."""
    both, soft = square_results(results, TABLE1, KD), square_results(results, TABLE2, SOFT_ONLY)
    differences = [soft[cell] - both[cell] for cell in both if cell in soft and cell[0] != BASELINE]
    answer, numbers = UNKNOWN, f"{len(differences)} of 25 pairs run by both"
    if differences:
        interval = bootstrap(differences)
        numbers += f", mean difference {signed(interval.mean)} points"
        if interval.low is not None and interval.high is not None:
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
    columns = [*ALONE_COLUMNS, *STUDENT_COLUMNS]
    for teacher, network in table_pairs():
        measured = pair_results(results, teacher, network, columns)
        if not all(measured.values()):
            continue
        favoured = best_of({column: measured[column] for column in ALONE_COLUMNS})
        best = best_of({column: measured[column] for column in STUDENT_COLUMNS})
        light = "mix_s_alpha_0.2" in favoured and "rescaled_pmu10" in best
        heavy = "mix_s_alpha_1.0" in favoured and bool(best & {"rescaled_pmu50", "rescaled_fmu"})
        if light or heavy:
            holds += 1
        else:
            exceptions.append(f"{teacher} → {network}")
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
    return Table(
        name=CLAIMS,
        title="The study's claims, answered from these results",
        caption=f"{setting} Answers are of means over replicates and weigh no noise: the numbers say how "
        f"clear they are. An answer needs at least {MIN_COMPARISONS} comparisons.",
        header=("Claim", "Text", "Answer", "Numbers"),
        rows=tuple(cells(one.number, one.text, one.answer, one.numbers) for one in claims),
        data=tuple(vars(one) for one in claims),
        labels=4,
        prose=(1, 3),
    )


def yes_or_no(holds: bool) -> str:
    """`yes` or `no`."""
    return YES if holds else NO


def rounded(value: float) -> float:
    """Percentage points as printed: what is printed as zero is zero."""
    return float(fixed(value, 2))
