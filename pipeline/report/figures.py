"""Pictures of accuracy: every network's with its deviation, and how it came about."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

from pipeline.evaluation.numbers import deviation, mean, percent
from pipeline.evaluation.runs import Run, describe
from pipeline.report.style import (
    CLASS_COLOURS,
    INK,
    figure,
    line_style,
    method_colour,
    save_figure,
    share_marker,
)

ROWS_PER_PAGE = 44
PANELS_PER_PAGE = 12
LINES_PER_PANEL = 8
PANEL_COLUMNS = 3

Groups = dict[str, list[Run]]

# Where it hides least of the curves, and see-through where it hides some.
_LEGEND: Any = {
    "fontsize": 7,
    "loc": "best",
    "handlelength": 2.6,
    "labelspacing": 0.3,
    "frameon": True,
    "framealpha": 0.8,
    "edgecolor": "none",
}


def grouped(runs: Sequence[Run]) -> Groups:
    """Runs that belong beside each other: teachers, networks alone, students of one teacher."""
    groups: Groups = {}
    titles = {"teachers": "Teachers", "baselines": "Networks alone"}
    teachers = {run.name: run for run in runs if run.section == "teachers"}
    for run in runs:
        if run.section == "students":
            teacher = teachers.get(run.teacher or "")
            mixup = (
                f" (mixup alpha {teacher.mixup_alpha:g})" if teacher and teacher.mixup_alpha else ""
            )
            assert run.record.teacher is not None
            title = f"{run.record.teacher.network}{mixup} → {run.network}"
        else:
            title = titles[run.section]
        groups.setdefault(title, []).append(run)
    return groups


def pages(groups: Groups, limit: int, size_of: str) -> list[Groups]:
    """Split groups over pages of at most `limit` rows (`size_of` "rows") or groups ("groups")."""
    result: list[Groups] = [{}]
    used = 0
    for title, runs in groups.items():
        parts = [runs[i : i + limit] for i in range(0, len(runs), limit)]
        for part in parts if size_of == "rows" else [runs]:
            size = len(part) + 1 if size_of == "rows" else 1
            if used + size > limit and result[-1]:
                result.append({})
                used = 0
            result[-1].setdefault(title, []).extend(part)
            used += size
    return result


def accuracy_figures(runs: Sequence[Run], folder: Path) -> list[str]:
    """Dots with bars of one sample deviation, and a faint dot for each replicate."""
    parts = pages(grouped(runs), ROWS_PER_PAGE, "rows")
    return [
        _accuracy_figure(part, folder, _page_name("accuracy", page, len(parts)))
        for page, part in enumerate(parts)
    ]


def _page_name(stem: str, page: int, count: int) -> str:
    return stem if count == 1 else f"{stem}-{page + 1}"


def _accuracy_figure(groups: Groups, folder: Path, name: str) -> str:
    rows = sum(len(runs) + 1 for runs in groups.values())
    with figure(8.0, 1.1 + 0.235 * rows) as drawing:
        axes = drawing.add_subplot()
        y, ticks, labels = 0.0, [], []
        for title, runs in groups.items():
            axes.text(0, y, title, transform=axes.get_yaxis_transform(), weight="bold", va="center")
            y += 1
            for run, label in zip(runs, row_labels(runs), strict=True):
                _accuracy_row(axes, run, y)
                ticks.append(y)
                labels.append(label)
                y += 1
        axes.set_ylim(y - 0.4, -0.7)
        axes.set_yticks(ticks, labels)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        axes.margins(x=0.08)
        axes.set_xlim(right=min(100.0, axes.get_xlim()[1]))
        axes.set_xlabel("top-1 accuracy, %   (mean ± sample deviation; axis cut)")
        return save_figure(drawing, folder, name)


def _accuracy_row(axes: Axes, run: Run, y: float) -> None:
    values = [100 * value for value in run.top1_accuracies]
    middle, width = mean(values), deviation(values)
    assert middle is not None
    colour, marker = method_colour(run), share_marker(run.share)
    if width is not None:
        axes.errorbar(middle, y, xerr=width, color=colour, linewidth=1.6, capsize=0, zorder=2)
        axes.plot(values, [y] * len(values), "|", color=colour, alpha=0.45, markersize=7, zorder=2)
    axes.plot(middle, y, marker, color=colour, markersize=6, markeredgecolor="white", zorder=3)
    axes.text(
        1.02,
        y,
        percent(run.top1_accuracies),
        transform=axes.get_yaxis_transform(),
        ha="left",
        va="center",
        fontsize=8,
        color=INK,
    )


def row_labels(runs: Sequence[Run]) -> list[str]:
    """What each of some runs beside each other is called: with its name where others are called alike."""
    labels = [_label(run) for run in runs]
    return [
        f"{label} ({run.name})" if labels.count(label) > 1 else label
        for run, label in zip(runs, labels, strict=True)
    ]


def _label(run: Run) -> str:
    if run.section == "students":
        return describe(run)
    mixup = "" if run.mixup_alpha is None else f", {describe(run).partition(', ')[2]}"
    return f"{run.network}{mixup}"


def curve_figures(runs: Sequence[Run], folder: Path) -> list[str]:
    """Test accuracy over the epochs: a panel for each group, the replicates' mean and range."""
    panels: Groups = {}
    for title, group in grouped([run for run in runs if accuracy_curve(run)[0]]).items():
        parts = _panel_parts(group)
        for index, part in enumerate(parts):
            panels[title if len(parts) == 1 else f"{title} ({index + 1}/{len(parts)})"] = part
    sheets = pages(panels, PANELS_PER_PAGE, "groups") if panels else []
    return [
        _curve_figure(sheet, folder, _page_name("curves", page, len(sheets)))
        for page, sheet in enumerate(sheets)
    ]


def _panel_parts(group: Sequence[Run]) -> list[list[Run]]:
    """Split a group over panels of at most LINES_PER_PANEL runs; a network stays in one."""
    by_network: dict[str, list[Run]] = {}
    for run in group:
        by_network.setdefault(run.network, []).append(run)
    parts: list[list[Run]] = []
    for runs in by_network.values():
        for start in range(0, len(runs), LINES_PER_PANEL):
            part = runs[start : start + LINES_PER_PANEL]
            if parts and len(parts[-1]) + len(part) <= LINES_PER_PANEL:
                parts[-1] += part
            else:
                parts.append(part)
    return parts


def accuracy_curve(run: Run) -> tuple[list[int], NDArray[np.float64]]:
    """Evaluated epochs, and accuracies (fractions) f8 [replicates, evaluated epochs]."""
    curves = [run.curves(replicate) for replicate in range(run.count)]
    if not curves or not curves[0]:
        return [], np.empty((run.count, 0))
    accuracies = np.asarray([curve["test_top1_accuracy"] for curve in curves])
    seen = ~np.isnan(accuracies[0])
    return np.asarray(curves[0]["epoch"])[seen].astype(int).tolist(), accuracies[:, seen]


def _curve_figure(groups: Groups, folder: Path, name: str) -> str:
    columns = 2 if len(groups) == 4 else min(PANEL_COLUMNS, len(groups))
    rows = math.ceil(len(groups) / columns)
    with figure(3.6 * columns + 0.4, 3.1 * rows + 0.2) as drawing:
        panels = drawing.subplots(rows, columns, squeeze=False, sharey=True).ravel()
        for axes, (title, runs) in zip(panels, groups.items(), strict=False):
            networks = list(dict.fromkeys(run.network for run in runs))
            for run, label in zip(runs, row_labels(runs), strict=True):
                _curve(axes, run, networks.index(run.network), _paleness(run, runs), label)
            axes.set_title(title)
            axes.grid(axis="y")
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.legend(**_LEGEND)
        for axes in panels[len(groups) :]:
            axes.set_visible(False)
        for axes in panels[max(0, len(groups) - columns) : len(groups)]:
            axes.set_xlabel("epoch")
        for axes in panels[::columns]:
            axes.set_ylabel("top-1 accuracy, %")
        return save_figure(drawing, folder, name)


def _paleness(run: Run, others: Sequence[Run]) -> float:
    """How pale a curve is, in [0, 1): the fewer views a student was limited to among others, the paler."""
    limits = sorted({one.views for one in others if one.views is not None})
    return 0.0 if run.views is None else 0.7 * (1 - limits.index(run.views) / len(limits))


def _curve(axes: Axes, run: Run, index: int, paleness: float, label: str) -> None:
    """Colours tell methods apart among students, and networks (`index`) among the others."""
    epochs, accuracies = accuracy_curve(run)
    student = run.section == "students"
    full = method_colour(run) if student else CLASS_COLOURS[index % len(CLASS_COLOURS)]
    colour = [paleness + (1 - paleness) * part for part in to_rgb(full)]
    low, high = 100 * accuracies.min(axis=0), 100 * accuracies.max(axis=0)
    axes.fill_between(epochs, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.plot(
        epochs,
        100 * accuracies.mean(axis=0),
        linestyle=line_style(run),
        color=colour,
        linewidth=1.5,
        label=label,
    )
