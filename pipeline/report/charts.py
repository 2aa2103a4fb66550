"""Charts of accuracy: every network's with its deviation, how it came about, which classes are confused.

Each is a function of a small table (`chart_data`) whose columns that module describes. No text of
the data stands in an expression (a filter, a sort): there a quote or a line separator would be code.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, TypeVar

import altair as alt
from pandas import DataFrame

from pipeline.report.render import ROWS, Chart, by_order, in_order, specify
from pipeline.report.theme import (
    FAINT,
    HARD_LABELS,
    INK,
    WHITE_TO_BLUE,
    class_colour,
    method_colour,
    paler,
    share_dash,
    share_shape,
)

ROWS_PER_PAGE = 44
PANELS_PER_PAGE = 12
LINES_PER_PANEL = 8
PANEL_COLUMNS = 3
FEW_EPOCHS = 40  # so many have room for a point each, which says its numbers
MANY_CLASSES = 24  # more than these have no room for their names and counts

T = TypeVar("T")
WIDTH = 520  # pixels
PERCENT = "top-1 accuracy, %"


def pages(groups: Mapping[str, Sequence[T]], limit: int, size_of: str) -> list[dict[str, list[T]]]:
    """Split groups over pages of at most `limit` rows (`size_of` "rows") or groups ("groups")."""
    result: list[dict[str, list[T]]] = [{}]
    used = 0
    for title, members in groups.items():
        parts = [members[i : i + limit] for i in range(0, len(members), limit)]
        for part in parts if size_of == "rows" else [members]:
            size = len(part) + 1 if size_of == "rows" else 1
            if used + size > limit and result[-1]:
                result.append({})
                used = 0
            result[-1].setdefault(title, []).extend(part)
            used += size
    return result


def _members(frame: DataFrame) -> dict[str, list[str]]:
    """The names of every group, in the order of the rows."""
    return {
        str(group): list(rows["name"].unique())
        for group, rows in frame.groupby("group", sort=False)
    }


def page_names(stem: str, count: int) -> list[str]:
    """The names of a figure's pages: numbered where there is more than one."""
    return [stem] if count == 1 else [f"{stem}-{page + 1}" for page in range(count)]


def accuracy_charts(frame: DataFrame) -> list[Chart]:
    """Dots with bars of one sample deviation, and a faint tick for each replicate."""
    sheets = pages(_members(frame), ROWS_PER_PAGE, "rows")
    return [
        accuracy_chart(name, _only(frame, chain(*sheet.values())))
        for name, sheet in zip(page_names("accuracy", len(sheets)), sheets, strict=True)
    ]


def _only(frame: DataFrame, names: Iterable[str]) -> DataFrame:
    return frame[frame["name"].isin(list(names))]


def accuracy_chart(name: str, frame: DataFrame) -> Chart:
    """One page: a block for each group, a row for each network."""
    losses = list(frame["loss"].unique())
    frame = in_order(frame, "group").assign(mixed=[share_shape(share) for share in frame["share"]])
    lowest, highest = (
        frame[["accuracy", "low"]].min().min(),
        frame[["accuracy", "high"]].max().max(),
    )
    margin = 0.08 * (highest - lowest) or 1.0
    scale = alt.Scale(domain=[lowest - margin, min(100.0, highest + margin)], nice=False)
    base = alt.Chart(ROWS).encode(
        y=alt.Y("network:N", sort=None, title=None, axis=alt.Axis(ticks=False, domain=False)),
        color=alt.Color("loss:N", legend=None, scale=_scale(losses, map(method_colour, losses))),
        tooltip=["network:N", alt.Tooltip("printed:N", title=PERCENT)],
    )
    first = base.transform_filter("datum.replicate === 0")
    axis = f"{PERCENT}   (mean ± sample deviation; axis cut)"
    middle = first.mark_point(
        filled=True, opacity=1, size=55, stroke="white", strokeWidth=1
    ).encode(
        x=alt.X("mean:Q", scale=scale, title=axis, axis=alt.Axis(tickCount=6, labelFlush=False)),
        shape=alt.Shape("mixed:N", scale=None),
    )
    bars = first.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", scale=scale), x2="high:Q")
    spread = base.transform_filter("datum.low !== null")
    ticks = spread.mark_tick(thickness=1.2, size=9, opacity=0.5).encode(
        x=alt.X("accuracy:Q", scale=scale)
    )
    text = first.mark_text(align="left", dx=12).encode(
        text="printed:N", x=alt.value(WIDTH), color=alt.value(INK)
    )
    layers = alt.layer(bars, ticks, middle, text).properties(width=WIDTH, height=alt.Step(19))
    header = alt.Header(title=None, labelAnchor="start", labelOrient="top", labelPadding=2)
    rows = layers.facet(row=alt.Row("group:N", sort=by_order("group"), header=header), spacing=8)
    return specify(name, rows.resolve_scale(y="independent"), frame)


def _scale(domain: Sequence[Any], values: Any) -> alt.Scale:
    return alt.Scale(domain=list(domain), range=list(values))


def curve_charts(frame: DataFrame) -> list[Chart]:
    """Test accuracy over the epochs: a panel for each group, the replicates' mean and range."""
    if frame.empty:
        return []
    panels: dict[str, list[str]] = {}
    for title, rows in frame.groupby("group", sort=False):
        parts = _panel_parts(rows)
        for index, part in enumerate(parts):
            panels[str(title) if len(parts) == 1 else f"{title} ({index + 1}/{len(parts)})"] = part
    sheets = pages(panels, PANELS_PER_PAGE, "groups")
    return [
        curve_chart(name, frame, sheet)
        for name, sheet in zip(page_names("curves", len(sheets)), sheets, strict=True)
    ]


def _panel_parts(rows: DataFrame) -> list[list[str]]:
    """Split a group over panels of at most LINES_PER_PANEL networks; an architecture stays in one."""
    parts: list[list[str]] = []
    for _, alike in rows.groupby("architecture", sort=False):
        names = list(alike.name.unique())
        for start in range(0, len(names), LINES_PER_PANEL):
            part = names[start : start + LINES_PER_PANEL]
            if parts and len(parts[-1]) + len(part) <= LINES_PER_PANEL:
                parts[-1] += part
            else:
                parts.append(part)
    return parts


def curve_chart(name: str, frame: DataFrame, panels: Mapping[str, Sequence[str]]) -> Chart:
    """One page: panel title -> names of the networks in it."""
    place = {name: panel for panel, names in enumerate(panels.values()) for name in names}
    shown = _only(frame, place)
    shown = shown.assign(panel=shown["name"].map(place))
    parts = [
        _curve_panel(shown[shown["panel"] == panel], title) for panel, title in enumerate(panels)
    ]
    independent = {"color": "independent", "strokeDash": "independent", "y": "shared"}
    # Put together by hand: Altair's concat takes a second for a dozen panels.
    chart = {
        "$schema": alt.SCHEMA_URL,
        "data": ROWS.to_dict(),
        "concat": parts,
        "columns": 2 if len(panels) == 4 else min(PANEL_COLUMNS, len(panels)),
        "spacing": 24,
        "resolve": {"scale": independent},
    }
    kept = ["panel", "network", "epoch", "mean", "low", "high"]
    return specify(name, chart, shown[kept].round(4))


def _curve_panel(frame: DataFrame, title: str) -> dict[str, Any]:
    lines = frame.drop_duplicates("name")
    labels = list(lines["network"])
    legend = alt.Legend(
        title=None,
        orient="bottom",
        columns=2 if max(map(len, labels)) < 24 else 1,
        symbolType="stroke",
        symbolOpacity=1,
        symbolSize=500,
    )
    colours = _scale(labels, _curve_colours(lines))
    dashes = _scale(labels, map(share_dash, lines["share"], lines["alpha"]))
    epochs = alt.X("epoch:Q", axis=alt.Axis(grid=False, tickMinStep=1), scale=alt.Scale(zero=False))
    base = alt.Chart(ROWS, title=title).transform_filter(
        f"datum.panel === {lines['panel'].iloc[0]}"
    )
    base = base.encode(x=epochs, color=alt.Color("network:N", scale=colours, legend=legend))
    band = base.mark_area(opacity=0.15).encode(y=alt.Y("low:Q", title=PERCENT), y2="high:Q")
    values = [alt.Tooltip(f"{name}:Q", format=".2f") for name in ("mean", "low", "high")]
    line = curve_line(base, points=frame["epoch"].nunique() <= FEW_EPOCHS).encode(
        y=alt.Y("mean:Q", title=PERCENT, scale=alt.Scale(zero=False)),
        strokeDash=alt.StrokeDash("network:N", scale=dashes, legend=legend),
        tooltip=["network:N", "epoch:Q", *values],
    )
    panel = alt.layer(band, line).properties(width=290, height=230).to_dict()
    return {key: value for key, value in panel.items() if key not in ("$schema", "config", "data")}


def _curve_colours(lines: DataFrame) -> list[str]:
    """Colours tell methods apart among students, and architectures among the others."""
    architectures = list(lines["architecture"].unique())
    full = [
        class_colour(architectures.index(architecture))
        if loss == HARD_LABELS
        else method_colour(loss)
        for architecture, loss in zip(lines["architecture"], lines["loss"], strict=True)
    ]
    return [paler(colour, part) for colour, part in zip(full, lines["paleness"], strict=True)]


def curve_line(chart: alt.Chart, points: bool) -> Any:
    """A line over training; with points that say their numbers, where there is room."""
    return chart.mark_line(strokeWidth=1.8, point=alt.OverlayMarkDef(size=16) if points else False)


def confusion_charts(frame: DataFrame, class_names: Sequence[str]) -> list[Chart]:
    """Confusion matrices, a panel for each `network` of the frame.

    Shades are fractions of the true class; counts are printed where there is room.
    """
    many = len(class_names) > MANY_CLASSES
    short = max(map(len, class_names)) <= 3
    side = 480 if many else 34 * len(class_names)
    axis = alt.Axis(ticks=False, labels=not many)
    turned = alt.Axis(ticks=False, labels=not many, labelAngle=0 if short else -90)
    scale = alt.Scale(domain=list(class_names))
    cells = confusion_cells({"scale": scale, "axis": turned}, {"scale": scale, "axis": axis})
    ink = alt.condition("datum.fraction > 0.5", alt.value("white"), alt.value(INK))
    numbers = cells.mark_text(fontSize=10).encode(text="images:Q", color=ink)
    layers = alt.layer(cells, *([] if many else [numbers]), view=alt.ViewConfig(stroke=FAINT))
    frame = in_order(frame.round({"fraction": 6}), "network")
    column = alt.Column("network:N", sort=by_order("network"), header=alt.Header(title=None))
    return [
        specify("confusion", layers.properties(width=side, height=side).facet(column=column), frame)
    ]


def confusion_cells(x: Mapping[str, Any], y: Mapping[str, Any]) -> Any:
    """Cells of `actual` (down) against `predicted` class; x, y: what else their axes are to have."""
    shade = alt.Scale(domain=[0, 1], range=list(WHITE_TO_BLUE), interpolate="rgb")
    return (
        alt.Chart(ROWS)
        .mark_rect()
        .encode(
            x=alt.X("predicted:N", title="predicted class", **x),
            y=alt.Y("actual:N", title="true class", **y),
            color=alt.Color("fraction:Q", scale=shade, legend=None),
            tooltip=[
                "actual:N",
                "predicted:N",
                "images:Q",
                alt.Tooltip("fraction:Q", format=".1%"),
            ],
        )
    )
