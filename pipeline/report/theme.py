"""How charts look: the same colours, shapes and dashes for the same things in every chart."""

import math
from typing import Any

INK, GREY, FAINT = "#22252b", "#7a808a", "#e4e6ea"

# Okabe and Ito's palette, which colour-blind readers can tell apart, in darker shades for thin lines.
HARD_LABELS = "hard labels"
METHOD_COLOURS = {
    HARD_LABELS: "#5b6270",
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
WHITE_TO_BLUE = ("#ffffff", "#56b4e9", "#00395a")

# vl-convert brings Liberation Sans, whose widths are Arial's: a browser's Arial has the same room.
FONT = "Liberation Sans, Arial, Helvetica, sans-serif"

CONFIG: dict[str, Any] = {
    "font": FONT,
    "background": "white",
    "padding": 8,
    "view": {"stroke": None},
    "range": {"category": list(CLASS_COLOURS)},
    "axis": {
        "labelColor": INK,
        "titleColor": INK,
        "titleFontWeight": "normal",
        "titleFontSize": 12,
        "labelFontSize": 11,
        "labelLimit": 0,
        "domainColor": GREY,
        "tickColor": GREY,
        "gridColor": FAINT,
    },
    "header": {"labelColor": INK, "labelFontSize": 12, "labelFontWeight": "bold", "labelLimit": 0},
    "title": {"color": INK, "fontSize": 12, "anchor": "start"},
    "legend": {"labelColor": INK, "labelFontSize": 11, "labelLimit": 0, "symbolLimit": 0},
}


def method_colour(loss: str) -> str:
    """The colour of a method, by the name of its loss or HARD_LABELS."""
    if loss in METHOD_COLOURS:
        return METHOD_COLOURS[loss]
    return OTHER_COLOURS[sum(map(ord, loss)) % len(OTHER_COLOURS)]


def class_colour(index: int) -> str:
    """The colour of the class or network of that place in a legend."""
    return CLASS_COLOURS[index % len(CLASS_COLOURS)]


def mixup_colour(alpha: float) -> str:
    """One colour for no mixup (NaN), one for the usual alpha of 1, others for other alphas."""
    if math.isnan(alpha):
        return NO_MIXUP
    return MIXUP if alpha == 1 else OTHER_MIXUPS[int(10 * alpha) % len(OTHER_MIXUPS)]


def share_shape(share: float) -> str:
    """Circle: nothing is mixed; diamond: a part; square: all."""
    return "circle" if share == 0 else "square" if share == 1 else "diamond"


def share_dash(share: float, alpha: float) -> list[float]:
    """Solid: nothing is mixed; dotted: all; dashed: a part (longer dashes: more) or a low alpha."""
    if share == 0:
        return [1, 0]
    if share == 1 and (math.isnan(alpha) or alpha == 1):
        return [2, 2]
    return [3 + 9 * (share if share < 1 else 0.3), 2.5]


def paler(colour: str, paleness: float) -> str:
    """A colour (#rrggbb) mixed with white: 0 leaves it, 1 is white."""
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(255 * paleness + (1 - paleness) * part):02x}" for part in parts)
