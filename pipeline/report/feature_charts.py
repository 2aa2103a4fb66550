"""Charts of penultimate features: V-score bars and t-SNE panels, without and with mixup."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
from pandas import DataFrame

from pipeline.report.charts import page_names
from pipeline.report.render import ROWS, Chart, by_order, in_order, specify
from pipeline.report.theme import FAINT, GREY, INK, class_colour, mixup_colour

BARS_PER_PAGE = 8  # networks
NETWORKS_PER_PAGE = 6
MAX_PANEL_WIDTH = 560
DENSE = 3000  # marks


def _sheets(frame: DataFrame, limit: int) -> list[DataFrame]:
    """Pages of at most `limit` networks."""
    networks = list(frame.network.unique())
    return [
        frame[frame.network.isin(networks[i : i + limit])] for i in range(0, len(networks), limit)
    ]


def vscore_charts(frame: DataFrame, stem: str) -> list[Chart]:
    """V-score bars without and with mixup, with the deviation over networks where there are several.

    Train and test set lie beside each other, a row for each group of classes; with many networks all
    panels lie below each other, and what does not fit goes into a further chart.
    """
    mixups = frame[["alpha", "mixup"]].drop_duplicates("mixup")
    colours = dict(zip(mixups.mixup, map(mixup_colour, mixups.alpha), strict=True))
    sheets = _sheets(frame.drop(columns="alpha").round(6), BARS_PER_PAGE)
    return [
        _vscore_chart(name, sheet, colours)
        for name, sheet in zip(page_names(stem, len(sheets)), sheets, strict=True)
    ]


def _vscore_chart(name: str, frame: DataFrame, colours: dict[str, str]) -> Chart:
    """Panels of a group of classes share their axis, which reaches as far as its highest bar needs."""
    width = max(250, 32 * (len(colours) + 1) * frame.network.nunique())
    groups = [panel.rpartition(",")[0] for panel in frame["panel"]]
    frame = in_order(frame.assign(classes=groups), "panel", "classes")
    rows = [_vscore_row(of, width, colours) for _, of in frame.groupby("classes", sort=False)]
    return specify(name, alt.vconcat(*rows), frame.drop(columns="classes"))


def _vscore_row(frame: DataFrame, width: int, colours: dict[str, str]) -> Any:
    legend = alt.Legend(title=None, orient="top", direction="horizontal")
    values = [alt.Tooltip(f"{column}:Q", format=".4f") for column in ("v_score", "low", "high")]
    base = alt.Chart(ROWS).encode(
        x=alt.X("network:N", sort=None, title=None, axis=alt.Axis(labelAngle=0, ticks=False)),
        xOffset=alt.XOffset("mixup:N", scale=alt.Scale(domain=list(colours), paddingInner=0.1)),
        tooltip=["panel:N", "network:N", "mixup:N", *values],
    )
    shade = alt.Scale(domain=list(colours), range=list(colours.values()))
    highest = float(np.nanmax(frame[["v_score", "high"]].to_numpy(float)))
    lowest = float(np.nanmin(frame[["low"]].fillna(0).to_numpy(float)))
    domain = [min(lowest, 0.0), 1.15 * highest or 1.0]
    axis = alt.Y("v_score:Q", title="V-score", scale=alt.Scale(domain=domain, nice=False))
    bars = base.mark_bar().encode(y=axis, color=alt.Color("mixup:N", scale=shade, legend=legend))
    lines = base.mark_rule(color=INK).encode(y="low:Q", y2="high:Q")
    top = "datum.high === null ? datum.v_score : datum.high"
    text = base.transform_calculate(top=top).mark_text(dy=-6, fontSize=9, color=INK)
    digits = ".2f" if highest >= 0.2 else ".3f"
    text = text.encode(y="top:Q", text=alt.Text("v_score:Q", format=digits))
    header = alt.Header(title=None, labelAnchor="start")
    place = int(frame["classes_order"].iloc[0])
    return (
        alt.layer(bars, lines, text)
        .transform_filter(f"datum.classes_order === {place}")
        .properties(width=width, height=200)
        .facet(
            alt.Facet("panel:N", sort=by_order("panel"), header=header),
            columns=2 if width < MAX_PANEL_WIDTH else 1,
        )
    )


def vscore_axis(channel: Any) -> Any:
    """The axis of V-scores: 0 to 1, with room above for what is printed there."""
    return channel(
        "v_score:Q",
        title="V-score",
        axis=alt.Axis(values=[0, 0.25, 0.5, 0.75, 1], format=".2f"),
        scale=alt.Scale(domain=[0, 1.12], nice=False),
    )


def tsne_charts(frame: DataFrame, class_names: Sequence[str], stem: str) -> list[Chart]:
    """t-SNE panels, a few networks to a chart; class_names: in the order of the legend."""
    sheets = _sheets(frame, NETWORKS_PER_PAGE)
    return [
        _tsne_chart(name, sheet, class_names)
        for name, sheet in zip(page_names(stem, len(sheets)), sheets, strict=True)
    ]


def _tsne_chart(name: str, frame: DataFrame, class_names: Sequence[str]) -> Chart:
    """Networks against train and test set, without and with mixup.

    There is a column for each network, or a row where there are too few for that.
    """
    wide = frame.network.nunique() < frame.setting.nunique()
    row, column = ("network", "setting") if wide else ("setting", "network")
    frame = in_order(frame, row, column)
    panel = frame.groupby(["network", "setting"]).size().max()
    colours = alt.Scale(
        domain=list(class_names), range=[class_colour(i) for i in range(len(class_names))]
    )
    legend = alt.Legend(title=None, orient="bottom", columns=min(len(class_names), 10))
    unit = alt.Scale(domain=[-0.04, 1.04], nice=False)
    place = {
        "x": alt.X("x:Q", axis=None, scale=unit),
        "y": alt.Y("y:Q", axis=None, scale=unit),
    }
    dense = len(frame) > DENSE
    # In PDFs a see-through mark takes ten times the room of an opaque one with a see-through fill, and that
    # ten times the room of one that is opaque.
    points = (
        alt.Chart(ROWS)
        .transform_filter("datum.note === null")
        .mark_circle(
            size=float(np.clip(4500 / panel, 5, 24)),
            opacity=1,
            fillOpacity=1 if dense else 0.75,
            aria=False,
        )
        .encode(
            color=alt.Color("class:N", scale=colours, legend=legend), tooltip="class:N", **place
        )
    )
    missing = (
        alt.Chart(ROWS)
        .transform_filter("datum.note !== null")
        .mark_text(color=GREY, x="width", y="height", dx=-85, dy=-85)
        .encode(text="note:N")
    )
    side = 170
    layers = alt.layer(points, missing, view=alt.ViewConfig(stroke=FAINT))
    header = alt.Header(title=None)
    return specify(
        name,
        layers.properties(width=side, height=side).facet(
            row=alt.Row(f"{row}:N", sort=by_order(row), header=header),
            column=alt.Column(f"{column}:N", sort=by_order(column), header=header),
            spacing=8,
        ),
        frame,
        dense=dense,
    )
