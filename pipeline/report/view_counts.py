"""How many views are enough: students that read a part of their store's views beside those that read all."""

from collections.abc import Iterator
from dataclasses import replace

from pipeline.report.comparison import Kind, kinds
from pipeline.report.configurations import Configuration, Results
from pipeline.report.numbers import MISSING, deviation, mean, signed, spread
from pipeline.report.runs import Run
from pipeline.report.tables import Table, Value, cells


def view_table(results: Results, setting: str) -> Table | None:
    """A row for each number of views of a configuration that was run with several; None without any."""
    rows, data = [], []
    for one, kind, views in _students(results):
        accuracies, whole = results.accuracies(one), results.accuracies(one.of_all_views())
        middle, reference = mean(accuracies), mean(whole)
        assert middle is not None, "a run has accuracies"
        change = None if one.views is None or reference is None else middle - reference
        pair, shown = f"{one.teacher} → {one.network}", f"{views}{' (all)' * (one.views is None)}"
        difference = MISSING if change is None else signed(change)
        rows.append(cells(pair, str(kind), shown, spread(accuracies, 2), difference))
        facts: dict[str, Value] = {"teacher": one.teacher, "student": one.network}
        facts |= {"method": str(kind), "views": views, "top1": middle}
        data.append(facts | {"top1_deviation": deviation(accuracies), "difference": change})
    if not rows:
        return None
    return Table(
        name="views",
        title="How many views are enough",
        caption=f"{setting} Top-1 accuracy in percent, mean ± sample deviation over seeds; difference: "
        "from the student that reads all views of the store. As many views as epochs is online "
        "distillation.",
        header=("Pair", "Student by", "Views", "Top-1", "Difference"),
        rows=tuple(rows),
        data=tuple(data),
        labels=2,
    )


def _students(results: Results) -> Iterator[tuple[Configuration, Kind, int]]:
    """Students of limited views and their twins of all views, side by side, the fewest views first."""
    all_kinds = kinds(results)
    limited = {one.of_all_views() for one in results.runs if one.views is not None}
    for whole in dict.fromkeys(one.of_all_views() for one in results.runs):
        if whole not in limited:
            continue
        twins = [(one, run) for one, run in results.runs.items() if one.of_all_views() == whole]
        for one, run in sorted(
            twins, key=lambda twin: (views_read(twin[1]), twin[0].views is None)
        ):
            kind = all_kinds[one]
            named = replace(kind, views=None)
            yield one, named, views_read(run)


def views_read(run: Run) -> int:
    """How many views of each group a student read; of the group with more where they differ."""
    return max(group.views for group in run.views_of_store.values())
