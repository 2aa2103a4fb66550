"""A chart's specification (Vega-Lite) and the files drawn from it: the same data give the same bytes."""

import io
import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import altair
import numpy as np
import pandas
import PIL
import vl_convert
from numpy.typing import NDArray
from PIL import Image

from pipeline.evaluation.remembered import remember_latest
from pipeline.report.pdf import ordered
from pipeline.report.theme import CONFIG

DRAWING = 1  # version of the code that draws
PIXELS_PER_INCH = 144  # a chart's own pixels are 1/72 inch
ROWS = altair.NamedData("rows")


@dataclass(frozen=True)
class Chart:
    """A chart: the stem of its files, its Vega-Lite specification but for the data, and these.

    `dense`: has so many marks that a browser is to draw them on a canvas.
    """

    name: str
    template: dict[str, Any]
    rows: pandas.DataFrame
    dense: bool = False

    @property
    def specification(self) -> dict[str, Any]:
        """The whole specification."""
        return {
            **self.template,
            "datasets": {"rows": json.loads(self.rows.to_json(orient="records"))},
        }

    @property
    def columns(self) -> dict[str, Any]:
        """The data by `columns` and `data` (a list a row): half as long as rows that name all values."""
        columns: dict[str, Any] = json.loads(self.rows.to_json(orient="split", index=False))
        return columns


def specify(name: str, chart: Any, rows: pandas.DataFrame, *, dense: bool = False) -> Chart:
    """An Altair chart of ROWS, or parts of a specification, in the project's style."""
    # The data stay out of Altair, which would check every value against its schema.
    parts = chart if isinstance(chart, dict) else chart.to_dict()
    return Chart(name, {**parts, "config": CONFIG}, rows, dense)


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
    specification = chart.specification
    facts = {
        "versions": [DRAWING, version("vl-convert-python"), PIL.__version__],
        "specification": specification,
    }
    drawn = remember_latest(f"drawn-{chart.name}", facts, lambda: draw(specification))
    for kind, content in drawn.items():
        place = folder if kind == "png" else vector
        (place / f"{chart.name}.{kind}").write_bytes(content.tobytes())


def write_picture(name: str, svg: str, folder: Path) -> None:
    """Write FOLDER/NAME.png, the picture of an SVG."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = [DRAWING, version("vl-convert-python"), PIL.__version__, svg]
    drawn = remember_latest(
        f"drawn-{name}", facts, lambda: {"png": np.frombuffer(as_png(svg), np.uint8)}
    )
    (folder / f"{name}.png").write_bytes(drawn["png"].tobytes())


def draw(specification: dict[str, Any]) -> dict[str, NDArray[np.uint8]]:
    """The bytes of a chart's files, by their kind; `DRAWING` grows where these change."""
    svg = vl_convert.vegalite_to_svg(specification, allowed_base_urls=[])
    files = {
        "svg": svg.encode("utf-8"),
        "pdf": ordered(vl_convert.svg_to_pdf(svg)),
        "png": as_png(svg),
    }
    return {kind: np.frombuffer(bytearray(content), np.uint8) for kind, content in files.items()}


def as_png(svg: str) -> bytes:
    """The picture of an SVG."""
    png, smaller = vl_convert.svg_to_png(svg, scale=PIXELS_PER_INCH / 72), io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:  # a third of the size, and no alpha
        image.convert("RGB").save(smaller, "PNG")
    return smaller.getvalue()
