"""The report: one list of blocks, written as Markdown and as a self-contained HTML page."""

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.report.style import FIGURE_DPI
from pipeline.report.tables import Table, to_html, to_markdown

CSS_DPI = 96


@dataclass(frozen=True)
class Heading:
    """Starts a chapter."""

    text: str


@dataclass(frozen=True)
class Paragraph:
    """Plain text."""

    text: str


@dataclass(frozen=True)
class Picture:
    """A figure: the stem of its files in `figures/`, and its caption."""

    name: str
    caption: str


Block = Heading | Paragraph | Picture | Table

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #22252b; margin: 0 auto; max-width: 1320px;
       padding: 2rem 1.5rem 4rem; }
h1 { font-size: 1.7rem; margin: 0 0 .3rem; }
h2 { font-size: 1.25rem; margin: 2.6rem 0 .6rem; padding-bottom: .25rem; border-bottom: 1px solid #d9dce1; }
h3 { font-size: 1rem; margin: 0 0 .5rem; }
nav a { margin-right: 1rem; color: #0072b2; text-decoration: none; }
figure { margin: 1.4rem 0 2rem; }
figcaption { color: #5b6270; font-size: .87rem; margin-top: .45rem; max-width: 62rem; }
img { max-width: 100%; height: auto; }
.scroll { overflow: auto; max-height: 46rem; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .26rem .6rem; text-align: left; white-space: nowrap; border-bottom: 1px solid #eceef1; }
thead th { white-space: normal; vertical-align: bottom; }
thead th { position: sticky; top: 0; background: #fff; border-bottom: 1.5px solid #7a808a; }
tbody tr:hover { background: #f5f7f9; }
.number { text-align: right; }
td.prose { white-space: normal; min-width: 18rem; }
td small { display: block; color: #5b6270; font-size: .76rem; }
"""


def write_markdown(title: str, blocks: Sequence[Block], folder: Path) -> None:
    """Write FOLDER/report.md, which shows the pictures in FOLDER/figures."""
    parts = [f"# {title}\n"]
    for block in blocks:
        if isinstance(block, Heading):
            parts.append(f"## {block.text}\n")
        elif isinstance(block, Paragraph):
            parts.append(f"{block.text}\n")
        elif isinstance(block, Picture):
            parts.append(f"![{block.caption}](figures/{block.name}.png)\n\n*{block.caption}*\n")
        else:
            parts.append(to_markdown(block))
    (folder / "report.md").write_text("\n".join(parts), encoding="utf-8", newline="\n")


def write_html(title: str, blocks: Sequence[Block], folder: Path) -> None:
    """Write FOLDER/report.html with the pictures of FOLDER/figures inside it: it needs nothing else."""
    headings = [block.text for block in blocks if isinstance(block, Heading)]
    links = " ".join(f'<a href="#{_anchor(text)}">{html.escape(text)}</a>' for text in headings)
    body = "\n".join(_html_block(block, folder) for block in blocks)
    text = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{html.escape(title)}</h1>\n<nav>{links}</nav>\n{body}\n</body>\n</html>\n"
    )
    (folder / "report.html").write_text(text, encoding="utf-8", newline="\n")


def _html_block(block: Block, folder: Path) -> str:
    if isinstance(block, Heading):
        return f'<h2 id="{_anchor(block.text)}">{html.escape(block.text)}</h2>'
    if isinstance(block, Paragraph):
        return f"<p>{html.escape(block.text)}</p>"
    if isinstance(block, Picture):
        content = (folder / "figures" / f"{block.name}.png").read_bytes()
        # A PNG's width in pixels; shown at the size in inches that it was drawn for.
        width = round(int.from_bytes(content[16:20], "big") * CSS_DPI / FIGURE_DPI)
        data, caption = base64.b64encode(content).decode(), html.escape(block.caption)
        return (
            f'<figure><img alt="{caption}" width="{width}" src="data:image/png;base64,{data}">'
            f"<figcaption>{caption}</figcaption></figure>"
        )
    return to_html(block)


def _anchor(text: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in text.lower())
