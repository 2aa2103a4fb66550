"""A chart's specification (Vega-Lite) and the files drawn from it: the same data give the same bytes."""

import io
import json
from dataclasses import dataclass
from importlib.metadata import version
from itertools import groupby
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
    def packed(self) -> dict[str, Any]:
        """The data by column, each as `packed_column` gives it: some tenth of rows that name all values."""
        split = json.loads(self.rows.to_json(orient="split", index=False))
        columns = (
            zip(*split["data"], strict=True) if split["data"] else [()] * len(split["columns"])
        )
        packed = map(packed_column, map(list, columns))
        return {
            "count": len(self.rows),
            "columns": dict(zip(split["columns"], packed, strict=True)),
        }


def packed_column(values: list[Any]) -> Any:
    """JSON values as they are, as runs of equal ones, or as a cycle that is repeated: what is shortest.

    >>> packed_column(["kd"] * 40 + ["dkd"] * 2)
    {'runs': [['kd', 40], ['dkd', 2]]}
    >>> packed_column([1, 2, 3, 1, 2, 3, 1, 2, 3])
    {'cycle': [1, 2, 3]}
    """
    runs = [[value, len(list(run))] for value, run in groupby(values)]
    forms: list[Any] = [values, {"runs": runs}]
    period = next((i for i, value in enumerate(values) if i and value == values[0]), 0)
    if period and values[:-period] == values[period:]:
        forms.append({"cycle": values[:period]})
    return min(forms, key=lambda form: len(json.dumps(form)))


def specify(name: str, chart: Any, rows: pandas.DataFrame, *, dense: bool = False) -> Chart:
    """An Altair chart of ROWS, or parts of a specification, in the project's style."""
    # The data stay out of Altair, and it checks no chart against its schema each time: tests do.
    parts = chart if isinstance(chart, dict) else chart.to_dict(validate=False)
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


def write_chart(chart: Chart, folder: Path) -> tuple[int, int]:
    """Write FOLDER/NAME.png, and NAME.svg and NAME.pdf into the folder `vector` beside.

    Returns the chart's width and height in its own pixels. Nothing is fetched, and none of the files holds
    a date, a version or a random name.
    """
    vector = folder.parent / "vector"
    for each in (folder, vector):
        each.mkdir(parents=True, exist_ok=True)
    specification = chart.specification
    facts = {**_drawn_by(), "specification": specification}
    drawn = remember_latest(f"drawn-{chart.name}", facts, lambda: draw(specification))
    for kind, content in drawn.items():
        place = folder if kind == "png" else vector
        (place / f"{chart.name}.{kind}").write_bytes(content.tobytes())
    with Image.open(io.BytesIO(drawn["png"].tobytes())) as image:
        width, height = (72 * side // PIXELS_PER_INCH for side in image.size)
    return width, height


def write_picture(name: str, svg: str, folder: Path) -> None:
    """Write FOLDER/NAME.png, the picture of an SVG."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = {**_drawn_by(), "svg": svg}
    drawn = remember_latest(f"drawn-{name}", facts, lambda: {"png": _as_array(as_png(svg))})
    (folder / f"{name}.png").write_bytes(drawn["png"].tobytes())


def _drawn_by() -> dict[str, Any]:
    """What a picture depends on besides what it shows."""
    return {"drawing": DRAWING, "vl-convert": version("vl-convert-python"), "PIL": PIL.__version__}


def draw(specification: dict[str, Any]) -> dict[str, NDArray[np.uint8]]:
    """The bytes of a chart's files, by their kind; `DRAWING` grows where these change."""
    svg = vl_convert.vegalite_to_svg(specification, allowed_base_urls=[])
    files = {
        "svg": svg.encode("utf-8"),
        "pdf": ordered(vl_convert.svg_to_pdf(svg)),
        "png": as_png(svg),
    }
    return {kind: _as_array(content) for kind, content in files.items()}


def _as_array(content: bytes) -> NDArray[np.uint8]:
    """Bytes as an array that may be written to, as torch wants them."""
    return np.frombuffer(bytearray(content), np.uint8)


def as_png(svg: str) -> bytes:
    """The picture of an SVG."""
    png, smaller = vl_convert.svg_to_png(svg, scale=PIXELS_PER_INCH / 72), io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:  # a third of the size, and no alpha
        image.convert("RGB").save(smaller, "PNG")
    return smaller.getvalue()
