"""A strip of images as a picture: an SVG, and what comes of it as PNG.

The letters are those of the report's charts (`pipeline.report.theme`), which vl-convert brings along.
"""

import base64
import io
from collections.abc import Sequence
from xml.etree import ElementTree as ET

import vl_convert
from PIL import Image

from pipeline.core.dataset import Images
from pipeline.report.strip import Example, Likely, Strip
from pipeline.report.theme import FAINT, FONT, GREY, INK, MIXUP, NO_MIXUP

# All in pixels.
PANEL, GAP, MARGIN = 96, 14, 16
TITLE, HEADING, CAPTION = 26, 20, 20
BARS, NAME, BAR = 204, 92, 62  # a list of likely classes: all of it, its names, its longest bar
LINE = 18
ROW = PANEL + CAPTION + GAP
SMALL, TEXT = 12, 13
_LETTERS = 13  # of the name of a class, in the room that it has


def strip_image(strip: Strip) -> Image.Image:
    """The strip as a picture of twice its SVG's size: sharp on screens with small pixels."""
    png = vl_convert.svg_to_png(strip_svg(strip), scale=2)
    return Image.open(io.BytesIO(png)).convert("RGB")


def strip_svg(strip: Strip) -> str:
    """The strip as an SVG with a row for each image; names may be a stranger's, and are escaped."""
    mixed = any(example.partner is not None for example in strip.examples)
    headings = ["clean", "augmented", *(["partner", "mixed"] if mixed else [])]
    lists = [headings[-1]]
    if any(example.likely_clean is not None for example in strip.examples):
        lists.insert(0, "clean")
    top = MARGIN + TITLE + HEADING
    svg = _blank(len(headings), len(lists), len(strip.examples))
    title = f"View {strip.view} of {strip.teacher}, {strip.group}"
    _text(svg, MARGIN, MARGIN + TEXT, title, size=TEXT + 2, weight="bold")
    for place, heading in enumerate(headings):
        _text(svg, _panel_left(place), top - 7, heading, fill=GREY)
    for place, heading in enumerate(lists):
        left = _panel_left(len(headings)) + place * (BARS + GAP)
        _text(svg, left, top - 7, f"teacher, {heading} image", fill=GREY)
    for place, example in enumerate(strip.examples):
        _row(svg, example, strip.class_names, top + place * ROW, len(headings))
    return ET.tostring(svg, encoding="unicode")


def _blank(panels: int, lists: int, rows: int) -> ET.Element:
    """A white SVG with room for rows of so many images and lists."""
    width = 2 * MARGIN + panels * (PANEL + GAP) + lists * (BARS + GAP) - GAP
    height = MARGIN + TITLE + HEADING + rows * ROW - GAP + MARGIN
    size = {"width": str(width), "height": str(height)}
    svg = ET.Element("svg", {"xmlns": "http://www.w3.org/2000/svg"} | size)
    ET.SubElement(svg, "rect", size | {"fill": "white"})
    return svg


def _row(svg: ET.Element, example: Example, names: Sequence[str], top: float, panels: int) -> None:
    for place, (pixels, caption) in enumerate(_panels(example, names)):
        _picture(svg, _panel_left(place), top, pixels)
        _text(svg, _panel_left(place), top + PANEL + 15, caption, size=SMALL)
    left = _panel_left(panels)
    if example.likely_clean is not None:
        _bars(svg, left, top, example.likely_clean, {example.label: NO_MIXUP})
        left += BARS + GAP
    _bars(svg, left, top, example.likely, _colours(example))


def _panels(example: Example, names: Sequence[str]) -> list[tuple[Images, str]]:
    """The images of a row, each with the text below it."""
    panels = [
        (example.clean, f"{_short(names[example.label])}, #{example.index}"),
        (example.augmented, ""),
    ]
    if (partner := example.partner) is not None:
        panels.append((partner.pixels, f"{_short(names[partner.label])}, #{partner.index}"))
        panels.append((partner.mixed, f"\N{GREEK SMALL LETTER LAMDA} = {partner.lam:.2f}"))
    return panels


def _colours(example: Example) -> dict[int, str]:
    """The colours of an image's own class, and of its partner's where that is another."""
    own = {example.label: NO_MIXUP}
    return own if example.partner is None else {example.partner.label: MIXUP} | own


def _bars(
    svg: ET.Element, left: float, top: float, likely: Sequence[Likely], colours: dict[int, str]
) -> None:
    for place, one in enumerate(likely):
        line = top + place * LINE + 13
        colour = colours.get(one.label, FAINT)
        _text(svg, left, line, _short(one.name), fill=INK)
        start, length = left + NAME, max(1.0, BAR * one.probability)
        box = {"x": start, "y": line - 10, "width": length, "height": 12}
        ET.SubElement(
            svg, "rect", {**{key: f"{value:g}" for key, value in box.items()}, "fill": colour}
        )
        _text(svg, start + length + 5, line, f"{one.probability:.1%}", size=SMALL, fill=GREY)


def _picture(svg: ET.Element, left: float, top: float, pixels: Images) -> None:
    """An image with its pixels as squares."""
    scale = -(-2 * PANEL // max(pixels.shape[:2]))
    squares = pixels.repeat(scale, axis=0).repeat(scale, axis=1)
    file = io.BytesIO()
    Image.fromarray(squares).save(file, "PNG")
    data = base64.b64encode(file.getvalue()).decode("ascii")
    place = {"x": f"{left:g}", "y": f"{top:g}", "width": str(PANEL), "height": str(PANEL)}
    ET.SubElement(svg, "image", {**place, "href": f"data:image/png;base64,{data}"})


def _text(
    svg: ET.Element,
    left: float,
    baseline: float,
    text: str,
    *,
    size: int = TEXT,
    fill: str = INK,
    weight: str = "normal",
) -> None:
    place = {"x": f"{left:g}", "y": f"{baseline:g}", "font-family": FONT}
    look = {"font-size": str(size), "fill": fill, "font-weight": weight}
    ET.SubElement(svg, "text", place | look).text = text


def _panel_left(place: int) -> float:
    return MARGIN + place * (PANEL + GAP)


def _short(name: str) -> str:
    """A name that fits its place, without letters that XML does not have."""
    name = name if name.isprintable() else ascii(name)
    return name if len(name) <= _LETTERS else name[: _LETTERS - 1] + "\N{HORIZONTAL ELLIPSIS}"
