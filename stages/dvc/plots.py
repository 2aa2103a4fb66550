"""What `dvc plots` draws with: templates and a page in `.dvc`, made of the report's own charts.

    python -m stages.dvc.plots       # writes them, and the script of both pages, anew

A test compares them with what this makes. The page needs no internet; DVC's own takes libraries from a CDN.
"""

import json
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

from pipeline.report.charts import confusion_cells, curve_line
from pipeline.report.document import TEMPLATES, environment, script
from pipeline.report.feature_charts import vscore_axis
from pipeline.report.render import ROWS
from pipeline.report.theme import CONFIG, INK

GLOBALS = "window.vegaEmbed = vegaEmbed;\nwindow.vega = vega;\nwindow.vegaLite = vegaLite;\n"
DVC = Path(__file__).resolve().parents[2] / ".dvc"
SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"  # of all versions that Altair 6 may name


def network_curves() -> Any:
    """plots/curves.csv: a line for each network; of several revisions, each has its own dashes."""
    legend = alt.Legend(title=None, symbolType="stroke", symbolStrokeColor=INK)
    return (
        curve_line(alt.Chart(ROWS), points=True)
        .encode(
            x=alt.X("epoch:Q", axis=alt.Axis(grid=False, tickMinStep=1)),
            y=alt.Y("top1_accuracy:Q", title="top-1 accuracy", scale=alt.Scale(zero=False)),
            color=alt.Color("network:N", legend=alt.Legend(title=None)),
            strokeDash=alt.StrokeDash("rev:N", legend=legend),
            tooltip=["network:N", "rev:N", "epoch:Q", "top1_accuracy:Q"],
        )
        .properties(width=700, height=420)
    )


def confusion_matrix() -> Any:
    """plots/confusion.csv: a panel for each revision; shades are fractions of the true class."""
    axis = {"axis": alt.Axis(ticks=False, labelOverlap=True, labelFontSize=9)}
    chart = confusion_cells(axis, axis).properties(width=560, height=560)
    return (
        chart.transform_aggregate(images="count()", groupby=["rev", "actual", "predicted"])
        .transform_joinaggregate(total="sum(images)", groupby=["rev", "actual"])
        .transform_calculate(fraction="datum.images / datum.total")
        .facet(column=alt.Column("rev:N", title=None))
    )


def vscore_bars() -> Any:
    """plots/vscores.csv: a panel for each group of classes, a bar for each network and revision."""
    names = alt.Axis(ticks=False)
    return (
        alt.Chart(ROWS)
        .mark_bar()
        .encode(
            x=vscore_axis(alt.X),
            y=alt.Y("network:N", sort=None, title=None, axis=names),
            yOffset="rev:N",
            color=alt.Color("rev:N", title=None),
            tooltip=["network:N", "classes:N", "rev:N", "v_score:Q", "deviation:Q"],
        )
        .properties(width=240, height=alt.Step(14))
        .facet(column=alt.Column("classes:N", sort=None, title=None))
    )


def template(chart: Any) -> str:
    """A chart with DVC's places for rows and title in it."""
    facts = {"$schema": SCHEMA, "config": CONFIG, "title": "<DVC_METRIC_TITLE>"}
    content = chart.to_dict() | facts
    assert content["data"] == {"name": "rows"}
    content["data"] = {"values": "<DVC_METRIC_DATA>"}
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


def page() -> str:
    """The page that DVC puts its plots into."""
    return environment().get_template("dvc_plots.html.j2").render(script=script("vega.js"))


def vega_script() -> str:
    """Vega, Vega-Lite and Vega-Embed in one script without globals but their own names."""
    return f"(()=>{{{vl_convert.javascript_bundle(GLOBALS)}}})();\n"


def write(dvc: Path, *, libraries: bool) -> None:
    """Write plots/NAME.json and plots_page.html into a folder; `libraries`: their script first."""
    if libraries:
        (TEMPLATES / "vega.js").write_text(vega_script(), encoding="utf-8", newline="\n")
    (dvc / "plots").mkdir(exist_ok=True)
    for make in (network_curves, confusion_matrix, vscore_bars):
        path = dvc / "plots" / f"{make.__name__}.json"
        path.write_text(template(make()), encoding="utf-8", newline="\n")
    (dvc / "plots_page.html").write_text(page(), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    write(DVC, libraries=True)
