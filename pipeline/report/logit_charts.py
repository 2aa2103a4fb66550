"""Charts that need logits: reliability, accuracy by class, confusion of a student beside its teacher's."""

from collections.abc import Mapping, Sequence

import altair as alt
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.evaluation.calibration import ECE_BINS, own_scale
from pipeline.evaluation.runs import Run
from pipeline.report.charts import page_names
from pipeline.report.render import ROWS, Chart, by_order, in_order, specify
from pipeline.report.theme import FAINT, GREY, NO_MIXUP
from pipeline.results.metrics import confidences

PANELS_PER_CHART = 20
COLUMNS = 5
MANY_CLASSES = 24
RELIABILITY = ("network", "confidence", "accuracy", "images")


def reliability_frame(runs: Sequence[Run], labels: NDArray[np.int32]) -> pd.DataFrame:
    """Reliability of the first replicate of each network whose logits are at hand: a row a filled bin.

    `confidence` (mean) and `accuracy` are fractions of the `images` of a bin.
    Bins and scale are those of the ECE: `rescaled` and `zscore` take probabilities of scaled logits.
    """
    rows = []
    for run in (run for run in runs if run.kept is None):
        logits = own_scale(run.loss, run.test_logits(0))
        confidence, right, members = confidences(logits, labels, ECE_BINS)
        rows += [
            (
                run.name if run.section == "students" else f"{run.section}/{run.name}",
                float(confidence[inside].mean()),
                float(right[inside].mean()),
                int(inside.sum()),
            )
            for place in range(ECE_BINS)
            if (inside := members == place).any()
        ]
    return pd.DataFrame(rows, columns=RELIABILITY).round(6)


def reliability_charts(frame: pd.DataFrame) -> list[Chart]:
    """Accuracy against confidence, a panel a network: on the diagonal a network is as right as it says."""
    names = list(frame["network"].unique())
    sheets = [names[i : i + PANELS_PER_CHART] for i in range(0, len(names), PANELS_PER_CHART)]
    return [
        _reliability_chart(name, frame[frame["network"].isin(sheet)])
        for name, sheet in zip(page_names("reliability", len(sheets)), sheets, strict=True)
    ]


def _reliability_chart(name: str, frame: pd.DataFrame) -> Chart:
    unit = alt.Scale(domain=[0, 1], nice=False)
    axis = alt.Axis(values=[0, 0.5, 1], format="%", grid=False)
    base = alt.Chart(ROWS).encode(
        tooltip=[
            "network:N",
            *(alt.Tooltip(f"{column}:Q", format=".1%") for column in ("confidence", "accuracy")),
            "images:Q",
        ]
    )
    gaps = base.mark_rule(color="#d55e00", strokeWidth=2, opacity=0.6).encode(
        x=alt.X("confidence:Q", scale=unit, axis=axis, title="confidence"),
        y=alt.Y("confidence:Q", scale=unit, axis=axis, title="accuracy"),
        y2="accuracy:Q",
    )
    points = base.mark_circle(color=NO_MIXUP, opacity=0.9).encode(
        x=alt.X("confidence:Q", scale=unit, title="confidence"),
        y=alt.Y("accuracy:Q", scale=unit, title="accuracy"),
        size=alt.Size("images:Q", legend=None, scale=alt.Scale(range=[8, 90])),
    )
    diagonal = alt.Chart(ROWS).mark_line(color=GREY, strokeDash=[4, 3], strokeWidth=1)
    line = diagonal.encode(x=alt.X("corner:Q", scale=unit), y=alt.Y("corner:Q", scale=unit))
    frame = in_order(frame, "network")
    # The diagonal needs a row at either corner of every panel, which gaps and points leave out.
    corners = frame.drop_duplicates("network")[["network", "network_order"]]
    ends = [corners.assign(corner=value) for value in (0.0, 1.0)]
    header = alt.Header(title=None, labelFontSize=9)
    layers = alt.layer(gaps, points, line, view=alt.ViewConfig(stroke=FAINT))
    chart = layers.properties(width=165, height=165).facet(
        alt.Facet("network:N", sort=by_order("network"), header=header), columns=COLUMNS
    )
    return specify(name, chart, pd.concat([frame, *ends], ignore_index=True))


def class_frame(
    networks: Mapping[str, NDArray[np.float32]],
    labels: NDArray[np.int32],
    class_names: Sequence[str],
) -> pd.DataFrame:
    """Accuracy (percent) by class of a student and its teacher, the largest loss of the student first.

    Columns: class, student, teacher, difference (student minus teacher, points), order.

    Args:
        networks: logits f4 [N, C] of `student` and `teacher`, with labels i4 [N].
    """
    right = {name: logits.argmax(axis=1) == labels for name, logits in networks.items()}
    frame = pd.DataFrame({"class": [class_names[i] for i in labels], **right})
    means = 100 * frame.groupby("class", sort=False)[["student", "teacher"]].mean()
    means = means.assign(difference=means["student"] - means["teacher"]).reset_index()
    means = means.sort_values(["difference", "class"], kind="stable", ignore_index=True)
    return means.assign(order=range(len(means))).round(4)


def class_charts(frame: pd.DataFrame, title: str) -> list[Chart]:
    """Accuracy by class of student (filled) and teacher (hollow), and the difference beside it."""
    order = alt.EncodingSortField(field="order", op="min")
    step = 11 if len(frame) > MANY_CLASSES else 17
    names = alt.Axis(ticks=False, labelFontSize=9 if len(frame) > MANY_CLASSES else 11)
    values = [
        alt.Tooltip(f"{name}:Q", format=".1f") for name in ("student", "teacher", "difference")
    ]
    base = alt.Chart(ROWS).encode(
        y=alt.Y("class:N", sort=order, title=None, axis=names), tooltip=["class:N", *values]
    )
    scale = alt.Scale(domain=[0, 100])
    line = base.mark_rule(color=GREY).encode(x=alt.X("student:Q", scale=scale), x2="teacher:Q")
    teacher = base.mark_point(color=GREY, size=32, filled=False).encode(
        x=alt.X("teacher:Q", scale=scale, title="top-1 accuracy, %: student filled, teacher hollow")
    )
    student = base.mark_point(color=NO_MIXUP, size=32, filled=True, opacity=1).encode(
        x=alt.X("student:Q", scale=scale)
    )
    shade = alt.condition("datum.difference < 0", alt.value("#d55e00"), alt.value(NO_MIXUP))
    bars = base.mark_bar().encode(
        x=alt.X("difference:Q", title="student minus teacher, points"), color=shade
    )
    size = {"width": 360, "height": alt.Step(step)}
    chart = alt.hconcat(
        alt.layer(line, teacher, student).properties(**size), bars.properties(**size), title=title
    )
    return [specify("classes", chart, frame)]
