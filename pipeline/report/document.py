"""The report: one list of blocks, written as Markdown and as a self-contained HTML page."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from textwrap import indent

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipeline.report.gains import Gains
from pipeline.report.render import Chart
from pipeline.report.strip import Strip
from pipeline.report.strip_page import png_uri, rows
from pipeline.report.tables import Table, to_markdown

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Heading:
    """Starts a chapter."""

    text: str

    @property
    def anchor(self) -> str:
        """What a link inside the page calls it."""
        return "chapter-" + "".join(c if c.isalnum() else "-" for c in self.text.lower())


@dataclass(frozen=True)
class Paragraph:
    """Plain text."""

    text: str


@dataclass(frozen=True)
class Fact:
    """A number of the first screen: what it is, the number, what a reader must know beside it."""

    label: str
    value: str
    note: str


@dataclass(frozen=True)
class Overview:
    """The first screen: what was compared, a few numbers, and what they show in sentences."""

    lead: str
    facts: tuple[Fact, ...]
    findings: tuple[str, ...]
    gains: Gains | None = None


@dataclass(frozen=True)
class Folded:
    """Text to look up, as it stands in a file: a page shows its title, and the rest when asked."""

    title: str
    text: str


@dataclass(frozen=True)
class Picture:
    """A chart and its caption; `size`: width and height in pixels, kept free until it is drawn."""

    chart: Chart
    caption: str
    size: tuple[int, int] | None = None

    @property
    def title(self) -> str:
        """What its caption begins with."""
        return self.caption.partition(": ")[0]

    @property
    def rest(self) -> str:
        """The caption without the title, as sentences."""
        rest = self.caption.partition(": ")[2]
        return rest[:1].upper() + rest[1:]


@dataclass(frozen=True)
class More:
    """Further charts of the same kind, which a page shows when asked, and when it is filtered."""

    title: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Seen:
    """Images as a student sees them, with what the teacher says of each; files of it are called `name`."""

    name: str
    strip: Strip
    caption: str


Block = Heading | Paragraph | Overview | Folded | Picture | More | Seen | Table


def write_markdown(title: str, blocks: Sequence[Block], folder: Path) -> None:
    """Write FOLDER/report.md, which shows the pictures in FOLDER/figures."""
    text = "\n".join([f"# {title}\n", *map(_markdown, blocks)])
    (folder / "report.md").write_text(text, encoding="utf-8", newline="\n")


def _markdown(block: Block) -> str:
    if isinstance(block, Heading):
        return f"## {block.text}\n"
    if isinstance(block, Paragraph):
        return f"{block.text}\n"
    if isinstance(block, Overview):
        facts = "".join(f"- {fact.label}: **{fact.value}** ({fact.note})\n" for fact in block.facts)
        findings = "".join(f"{number}. {text}\n" for number, text in enumerate(block.findings, 1))
        return "\n".join(filter(None, (f"{block.lead}\n", facts, findings)))
    if isinstance(block, Folded):
        # Indented, not fenced: no line of the text can end it.
        return f"**{block.title}**\n\n{indent(block.text, ' ' * 4)}\n"
    if isinstance(block, Picture):
        caption = block.caption
        return f"![{caption}](figures/{block.chart.name}.png)\n\n*{caption}*\n"
    if isinstance(block, More):
        return "\n".join(map(_markdown, block.pictures))
    if isinstance(block, Seen):
        return f"![{block.caption}](figures/{block.name}.png)\n\n*{block.caption}*\n"
    return to_markdown(block)


def write_html(title: str, blocks: Sequence[Block], folder: Path) -> None:
    """Write FOLDER/report.html with the charts inside it: it needs nothing else, and fetches nothing.

    Whatever text is in blocks and charts, the page runs no scripts but its own three: its policy names
    them by their digests, and allows no evaluation of strings.
    """
    scripts = [script(name) for name in ("vega.js", "tables.js", "charts.js")]
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
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {"png_uri": png_uri, "strip_rows": rows}
    return made


def script(name: str) -> Markup:
    """A script of the page, of our own making or as vl-convert brings it."""
    text = (TEMPLATES / name).read_text(encoding="utf-8")
    assert "</script" not in text.lower(), name
    return Markup(text)


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
