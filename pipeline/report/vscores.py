"""The tables of V-scores."""

from collections.abc import Sequence

import pandas as pd

from pipeline.evaluation.frame import rows_of
from pipeline.evaluation.numbers import spread_text
from pipeline.evaluation.vscores import MEASURES, SPLITS, VScores
from pipeline.report.tables import Table, cells, network_names

FACTS = ("section", "name", "network", "method", "share", "mixup_alpha")
LETTERS = dict(zip(MEASURES, "hcV", strict=True))


def vscore_frame(runs: pd.DataFrame, vscores: Sequence[VScores]) -> pd.DataFrame:
    """A row a network, group of classes, split and kind of features: mean and deviation of each measure.

    `called` is unique.

    Args:
        runs: a row a network, as `by_run` gives them, of the frame that has these V-scores.
    """
    measured = dict.fromkeys((v.group, v.split, v.features) for v in vscores)
    runs, parts = runs.assign(called=network_names(runs)), []
    for group, split, features in measured:
        columns = {
            f"{measure}_{group}_{split}_{features}{end}": f"{measure}{end}"
            for measure in MEASURES
            for end in ("", "_deviation")
        }
        facts = {"classes": group, "split": split, "features": features}
        part = runs[[*FACTS, "called", "trained_with", "replicates", *columns]].rename(
            columns=columns
        )
        parts.append(part.assign(**facts))
    return pd.concat(parts).sort_index(kind="stable")


def vscore_table(scores: pd.DataFrame, caption: str) -> Table:
    """All V-scores: a row for each run, group and kind of features; of `vscore_frame`."""
    rows = []
    for (_, _, features), splits in scores.groupby(["run", "classes", "features"], sort=False):
        first, *_ = places = list(rows_of(splits))
        texts = [
            spread_text(getattr(place, name), getattr(place, f"{name}_deviation"), 3)
            for place in places
            for name in MEASURES
        ]
        kind = "L2" if features == "l2" else "raw"
        rows.append(cells(first.called, first.trained_with, first.classes, kind, *texts))
    alpha = scores["mixup_alpha"].where(scores["section"] != "students")
    columns = [*FACTS, "classes", "split", "features", "replicates"]
    columns += [column for name in MEASURES for column in (name, f"{name}_deviation")]
    return Table(
        name="vscores",
        title="V-scores of the penultimate features",
        caption=f"{caption} k-means with as many clusters as classes; h homogeneity, c completeness, "
        "V their harmonic mean (1: clusters are classes, 0: they say nothing of them). Mean ± sample "
        "deviation over the replicates.",
        header=(
            *("Name", "Trained with", "Classes", "Features"),
            *(f"{split} {letter}" for split in SPLITS for letter in LETTERS.values()),
        ),
        rows=tuple(rows),
        data=scores.assign(mixup_alpha=alpha)[columns],
        labels=4,
    )


def short_vscore_table(scores: pd.DataFrame) -> Table:
    """V-scores of the hard-label networks' raw features: what fits on a terminal."""
    chosen = scores[(scores["features"] == "raw") & (scores["section"] != "students")]
    texts = [
        spread_text(*pair, 3)
        for pair in zip(chosen["v_score"], chosen["v_score_deviation"], strict=True)
    ]
    place = chosen["classes"] + " " + chosen["split"]
    shown = chosen.assign(text=texts, place=place)
    groups = list(dict.fromkeys(scores["classes"]))
    rows = [
        cells(
            of_run["called"].iloc[0],
            "no" if pd.isna(alpha := of_run["mixup_alpha"].iloc[0]) else f"alpha {alpha:g}",
            *(of_run.set_index("place")["text"]),
        )
        for _, of_run in shown.groupby(level="run", sort=False)
    ]
    return Table(
        name="vscores",
        title="V-scores of hard-label networks (raw features)",
        caption="mean ± sample deviation over the runs; 1: clusters are classes",
        header=("Name", "Mixup", *(f"{group} {split}" for group in groups for split in SPLITS)),
        rows=tuple(rows),
        labels=2,
    )
