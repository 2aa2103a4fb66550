"""A chart's specification (Vega-Lite) and the files drawn from it: the same data give the same bytes."""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair
import pandas
import vl_convert
from PIL import Image

from pipeline.report.pdf import ordered
from pipeline.report.theme import CONFIG

PIXELS_PER_INCH = 144  # a chart's own pixels are 1/72 inch
ROWS = altair.NamedData("rows")


@dataclass(frozen=True)
class Chart:
    """A chart: the stem of its files, and its Vega-Lite specification with all its data.

    `dense`: has so many marks that a browser is to draw them on a canvas.
    """

    name: str
    specification: dict[str, Any]
    dense: bool = False


def specify(chart: Any, rows: pandas.DataFrame) -> dict[str, Any]:
    """The specification of an Altair chart of ROWS, with the data in it and the project's style."""
    # The data stay out of Altair, which would check every value against its schema.
    data = json.loads(rows.to_json(orient="records"))
    return {**chart.to_dict(), "config": CONFIG, "datasets": {"rows": data}}


def in_order(rows: pandas.DataFrame, *names: str) -> pandas.DataFrame:
    """Rows with a column NAME_order for each column: the place of its value among those that occur.

    Vega-Lite sorts facets by name, if not by another column.
    """
    places = {f"{name}_order": pandas.factorize(rows[name])[0] for name in names}
    return rows.assign(**places)


def by_order(name: str) -> altair.EncodingSortField:
    """The sort of a facet by a column that `in_order` makes."""
    return altair.EncodingSortField(field=f"{name}_order", op="min")


def write_chart(chart: Chart, folder: Path) -> None:
    """Write FOLDER/NAME.png, and NAME.svg and NAME.pdf into the folder `vector` beside.

    Nothing is fetched, and none of them holds a date, a version or a random name.
    """
    vector = folder.parent / "vector"
    for each in (folder, vector):
        each.mkdir(parents=True, exist_ok=True)
    svg = vl_convert.vegalite_to_svg(chart.specification, allowed_base_urls=[])
    (vector / f"{chart.name}.svg").write_text(svg, encoding="utf-8", newline="\n")
    (vector / f"{chart.name}.pdf").write_bytes(ordered(vl_convert.svg_to_pdf(svg)))
    (folder / f"{chart.name}.png").write_bytes(as_png(svg))


def as_png(svg: str) -> bytes:
    """The picture of an SVG."""
    png, smaller = vl_convert.svg_to_png(svg, scale=PIXELS_PER_INCH / 72), io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:  # a third of the size, and no alpha
        image.convert("RGB").save(smaller, "PNG", optimize=True)
    return smaller.getvalue()
