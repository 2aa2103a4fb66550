"""How figures look, and how they are written: the same data give the same bytes."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pipeline.evaluation.runs import Run

FIGURE_DPI = 150

INK, GREY, FAINT = "#22252b", "#7a808a", "#e4e6ea"

# Okabe and Ito's palette, which colour-blind readers can tell apart, in darker shades for thin lines.
METHOD_COLOURS = {
    None: "#5b6270",
    "kd": "#0072b2",
    "kd_soft_only": "#3aa6dd",
    "rescaled": "#d55e00",
    "zscore": "#009e73",
    "dkd": "#b0508c",
    "dist": "#a87b00",
    "mse": "#6d4fa3",
    "rkd": "#8c564b",
}
OTHER_COLOURS = ("#1b6e6a", "#99404a", "#4f6d1f", "#344b8c")
NO_MIXUP, MIXUP = "#0072b2", "#e08214"
OTHER_MIXUPS = ("#b35806", "#8c6d31", "#fdb863", "#7f3b08", "#c7a76c")
CLASS_COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e0a800",
    "#56b4e9",
    "#7a4f2a",
    "#6d4fa3",
    "#5b6270",
    "#99404a",
)

_RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.8,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": FAINT,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.dpi": FIGURE_DPI,
    "svg.fonttype": "path",
    "svg.hashsalt": "decant",
}


@contextmanager
def figure(width: float, height: float) -> Iterator[Figure]:
    """A new figure (inches) in the project's style; no state is left behind."""
    # Starting from matplotlib's own defaults keeps a user's matplotlibrc out of the bytes.
    settings: Any = {**matplotlib.rcParamsDefault, "backend": "agg"}
    with matplotlib.rc_context({**settings, **_RC}):
        drawing = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(drawing)
        yield drawing


def save_figure(drawing: Figure, folder: Path, name: str) -> str:
    """Write FOLDER/NAME.png, and NAME.svg into the folder `vector` beside; returns the name.

    Neither holds a date or a version. To be called inside `figure`.
    """
    vector = folder.parent / "vector"
    for each in (folder, vector):
        each.mkdir(parents=True, exist_ok=True)
    drawing.savefig(folder / f"{name}.png", metadata={"Software": None})
    buffer = io.StringIO()
    drawing.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    (vector / f"{name}.svg").write_text(buffer.getvalue(), encoding="utf-8", newline="\n")
    return name


def method_colour(run: Run) -> str:
    """The colour of a run's method, the same in every figure."""
    loss = run.loss
    if loss is None or loss in METHOD_COLOURS:
        return METHOD_COLOURS[loss]
    return OTHER_COLOURS[sum(map(ord, loss)) % len(OTHER_COLOURS)]


def share_marker(share: float) -> str:
    """Circle: nothing is mixed; diamond: a part; square: all."""
    return "o" if share == 0 else "s" if share == 1 else "D"


def line_style(run: Run) -> str | tuple[int, tuple[float, ...]]:
    """Solid: nothing is mixed; dotted: all; dashed: a part (longer dashes: more) or a low alpha."""
    if run.share == 0:
        return "-"
    if run.share == 1 and run.mixup_alpha in (None, 1):
        return ":"
    return (0, (2 + 6 * (run.share if run.share < 1 else 0.3), 1.5))


def bare(axes: Axes) -> None:
    """Take away ticks and all spines: for panels whose coordinates mean nothing."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color(FAINT)
