"""Charts of training: losses and learning rate over the epochs; and differences from KD seed by seed."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from pipeline.evaluation.configurations import usual_first
from pipeline.evaluation.paired import accuracies, difference
from pipeline.evaluation.runs import Run
from pipeline.report.chart_data import Labelled, labelled
from pipeline.report.charts import LINES_PER_PANEL, ROWS_PER_PAGE, page_names
from pipeline.report.render import ROWS, Chart, by_order, in_order, specify
from pipeline.report.theme import (
    GREY,
    HARD_LABELS,
    class_colour,
    method_colour,
    paler,
    share_dash,
)

MEASURES = {
    "train_loss": "training loss",
    "test_loss": "test loss",
    "learning_rate": "learning rate",
}
LOSSES = ("panel", "title", "measure", "network", "colour", "dash", "epoch", "value")
DIFFERENCES = ("group", "network", "loss", "seed", "difference", "mean", "low", "high")
ROWS_OF_PANELS = 6  # to a chart


def loss_frame(runs: Sequence[Run]) -> pd.DataFrame:
    """Losses (as each method has them, nats) and learning rate, means over replicates: a row an epoch.

    `panel` numbers groups of at most LINES_PER_PANEL networks, `title` names them.
    """
    rows, panel = [], 0
    for group, named in labelled(runs).items():
        networks = list(dict.fromkeys(line.run.network for line in named))
        for start in range(0, len(named), LINES_PER_PANEL):
            number = f"{start // LINES_PER_PANEL + 1}/{-(-len(named) // LINES_PER_PANEL)}"
            title = group if len(named) <= LINES_PER_PANEL else f"{group} ({number})"
            for line in named[start : start + LINES_PER_PANEL]:
                facts = (line.label, _colour(line, networks), _dash(line.run))
                rows += [(panel, title, name, *facts, *point) for name, point in _points(line.run)]
            panel += 1
    return pd.DataFrame(rows, columns=LOSSES)


def _points(run: Run) -> list[tuple[str, tuple[int, float]]]:
    curves = [run.curves(replicate) for replicate in range(run.count)]
    points = []
    for name in MEASURES:
        if all(curve.get(name) for curve in curves):
            means = np.mean([curve[name] for curve in curves], axis=0)
            epochs = curves[0]["epoch"]
            points += [
                (name, (int(e), float(v))) for e, v in zip(epochs, means, strict=True) if v == v
            ]
    return points


def _colour(line: Labelled, networks: Sequence[str]) -> str:
    run = line.run
    own = method_colour(run.loss) if run.loss else class_colour(networks.index(run.network))
    return paler(own, line.paleness)


def _dash(run: Run) -> tuple[float, ...]:
    return tuple(share_dash(run.share, run.mixup_alpha or float("nan")))


def loss_charts(frame: pd.DataFrame) -> list[Chart]:
    """A row of panels for each group: training loss, test loss, learning rate."""
    panels = list(dict.fromkeys(frame["panel"]))
    sheets = [panels[i : i + ROWS_OF_PANELS] for i in range(0, len(panels), ROWS_OF_PANELS)]
    return [
        _loss_chart(name, frame[frame["panel"].isin(sheet)])
        for name, sheet in zip(page_names("losses", len(sheets)), sheets, strict=True)
    ]


def _loss_chart(name: str, frame: pd.DataFrame) -> Chart:
    panels = [
        _loss_panel(rows, measure, first=place == 0)
        for _, rows in frame.groupby("panel", sort=False)
        for place, measure in enumerate(MEASURES)
    ]
    # Put together by hand: Altair's concat takes a second for a dozen panels.
    chart = {
        "$schema": alt.SCHEMA_URL,
        "data": ROWS.to_dict(),
        "concat": panels,
        "columns": len(MEASURES),
        "spacing": 24,
        "resolve": {"scale": {"color": "independent", "strokeDash": "independent"}},
    }
    kept = frame[["panel", "measure", "network", "epoch", "value"]]
    return specify(name, chart, kept.round({"value": 6}))


def _loss_panel(rows: pd.DataFrame, measure: str, *, first: bool) -> dict[str, Any]:
    lines = rows.drop_duplicates("network")
    labels, panel = lines["network"].tolist(), int(rows["panel"].iloc[0])
    legend = alt.Legend(title=None, orient="bottom", columns=2, symbolType="stroke", symbolSize=500)
    shown = legend if first else None
    colours = alt.Scale(domain=labels, range=lines["colour"].tolist())
    dashes = alt.Scale(domain=labels, range=[list(dash) for dash in lines["dash"]])
    chart = (
        alt.Chart(ROWS, title=str(rows["title"].iloc[0]) if first else "")
        .transform_filter(f"datum.panel === {panel} && datum.measure === '{measure}'")
        .mark_line(strokeWidth=1.6)
        .encode(
            x=alt.X("epoch:Q", axis=alt.Axis(grid=False, tickMinStep=1)),
            y=alt.Y("value:Q", title=MEASURES[measure], scale=alt.Scale(zero=False)),
            color=alt.Color("network:N", scale=colours, legend=shown),
            strokeDash=alt.StrokeDash("network:N", scale=dashes, legend=shown),
            tooltip=["network:N", "epoch:Q", alt.Tooltip("value:Q", format=".4g")],
        )
        .properties(width=290, height=190)
        .to_dict()
    )
    return {key: value for key, value in chart.items() if key not in ("$schema", "config", "data")}


def difference_frame(
    runs: Sequence[Run], frame: pd.DataFrame, networks: pd.DataFrame
) -> pd.DataFrame:
    """Students minus plain KD of their pair and recipe, percentage points: a row for each seed of both.

    Args:
        frame: of all results of the runs; networks: a row a network of it (`by_run`).
    """
    numbers, rows = {id(run): number for number, run in enumerate(runs)}, []
    candidates = usual_first(runs)
    for group, members in labelled(runs).items():
        for run, label, _ in members:
            reference = next((one for one in candidates if _is_plain_kd(one, run)), None)
            if reference is None or reference is run:
                continue
            ours, theirs = (accuracies(frame, numbers[id(one)]) for one in (run, reference))
            value, seeds = difference(ours, theirs), sorted({*ours.index} & {*theirs.index})
            summary = (value.mean, value.low, value.high)
            rows += [
                (group, label, run.loss or HARD_LABELS, seed, single, *summary)
                for seed, single in zip(seeds, value.values, strict=True)
            ]
    result = pd.DataFrame(rows, columns=DIFFERENCES)
    return result.astype({"low": float, "high": float})


def _is_plain_kd(run: Run, other: Run) -> bool:
    return (
        run.loss == "kd"
        and run.share == 0
        and run.views is None
        and (run.teacher, run.network) == (other.teacher, other.network)
        and run.recipe == other.recipe
    )


def difference_charts(frame: pd.DataFrame) -> list[Chart]:
    """A dot for each seed, the mean and its 95 % t interval, beside zero: a block for each pair."""
    names = list(dict.fromkeys(zip(frame["group"], frame["network"], strict=True)))
    sheets = [names[i : i + ROWS_PER_PAGE] for i in range(0, len(names), ROWS_PER_PAGE)]
    keys = list(zip(frame["group"], frame["network"], strict=True))
    return [
        _difference_chart(name, frame[[key in sheet for key in keys]])
        for name, sheet in zip(page_names("differences", len(sheets)), sheets, strict=True)
    ]


def _difference_chart(name: str, frame: pd.DataFrame) -> Chart:
    first = ~frame.duplicated(["group", "network"])
    frame = in_order(frame, "group").assign(first=first.astype(int), zero=0).round(4)
    losses = list(frame["loss"].unique())
    colours = alt.Scale(domain=losses, range=list(map(method_colour, losses)))
    base = alt.Chart(ROWS).encode(
        y=alt.Y("network:N", sort=None, title=None, axis=alt.Axis(ticks=False, domain=False)),
        color=alt.Color("loss:N", legend=None, scale=colours),
    )
    title = "top-1 accuracy minus that of KD with the same seed, percentage points"
    seeds = base.mark_point(filled=True, size=45, opacity=0.75).encode(
        x=alt.X("difference:Q", title=title),
        tooltip=["network:N", "seed:Q", alt.Tooltip("difference:Q", format="+.2f")],
    )
    once = base.transform_filter("datum.first === 1")
    # An interval of two seeds may be wider than the picture: it is cut there, its numbers are in the tooltip.
    # (Vega would number its clip paths by chance.)
    ends = [alt.Tooltip(f"{end}:Q", format="+.2f") for end in ("mean", "low", "high")]
    span = [float(frame["difference"].min()), float(frame["difference"].max())]
    margin = 0.35 * (max(span[1], 0) - min(span[0], 0)) or 1.0
    domain = [min(span[0], 0) - margin, max(span[1], 0) + margin]
    frame = frame.assign(left=frame["low"].clip(*domain), right=frame["high"].clip(*domain))
    scale = alt.Scale(domain=domain, nice=False)
    lines = once.mark_rule(strokeWidth=1.5).encode(
        x=alt.X("left:Q", scale=scale, title=title), x2="right:Q", tooltip=["network:N", *ends]
    )
    means = once.mark_tick(thickness=2.5, size=15).encode(
        x=alt.X("mean:Q", scale=scale, title=title), tooltip=["network:N", *ends]
    )
    zero = alt.Chart(ROWS).mark_rule(color=GREY, strokeDash=[4, 3]).encode(x="zero:Q")
    layers = alt.layer(zero, lines, seeds, means).properties(width=560, height=alt.Step(20))
    header = alt.Header(title=None, labelAnchor="start", labelOrient="top", labelPadding=2)
    rows = layers.facet(row=alt.Row("group:N", sort=by_order("group"), header=header), spacing=8)
    return specify(name, rows.resolve_scale(y="independent"), frame)
