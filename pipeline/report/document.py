"""The report: one list of blocks, written as Markdown and as a self-contained HTML page."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipeline.report.render import Chart
from pipeline.report.tables import Table, to_markdown

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Heading:
    """Starts a chapter."""

    text: str

    @property
    def anchor(self) -> str:
        """What a link inside the page calls it."""
        return "".join(c if c.isalnum() else "-" for c in self.text.lower())


@dataclass(frozen=True)
class Paragraph:
    """Plain text."""

    text: str


@dataclass(frozen=True)
class Picture:
    """A chart and its caption."""

    chart: Chart
    caption: str


Block = Heading | Paragraph | Picture | Table


def write_markdown(title: str, blocks: Sequence[Block], folder: Path) -> None:
    """Write FOLDER/report.md, which shows the pictures in FOLDER/figures."""
    parts = [f"# {title}\n"]
    for block in blocks:
        if isinstance(block, Heading):
            parts.append(f"## {block.text}\n")
        elif isinstance(block, Paragraph):
            parts.append(f"{block.text}\n")
        elif isinstance(block, Picture):
            caption = block.caption
            parts.append(f"![{caption}](figures/{block.chart.name}.png)\n\n*{caption}*\n")
        else:
            parts.append(to_markdown(block))
    (folder / "report.md").write_text("\n".join(parts), encoding="utf-8", newline="\n")


def write_html(title: str, blocks: Sequence[Block], folder: Path) -> None:
    """Write FOLDER/report.html with the charts inside it: it needs nothing else, and fetches nothing.

    Whatever text is in blocks and charts, the page runs no scripts but its own two: its policy names
    them by their digests, and allows no evaluation of strings.
    """
    scripts = [script("vega.js"), script("charts.js")]
    page = environment().get_template("page.html.j2")
    text = page.render(
        title=title,
        blocks=[(type(block).__name__, block) for block in blocks],
        scripts=scripts,
        digests=[_digest(text) for text in scripts],
    )
    (folder / "report.html").write_text(text, encoding="utf-8", newline="\n")


@cache
def environment() -> Environment:
    """The templates of the page: whatever is not Markup is escaped in them."""
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def script(name: str) -> Markup:
    """A script of the page, of our own making or as vl-convert brings it."""
    text = (TEMPLATES / name).read_text(encoding="utf-8")
    assert "</script" not in text.lower(), name
    return Markup(text)


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
