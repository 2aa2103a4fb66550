"""The folder of a report: it in the making, what may be in it, and a new one in its place."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.report.document import (
    Block,
    Heading,
    More,
    Paragraph,
    Picture,
    Seen,
    write_html,
    write_markdown,
)
from pipeline.report.render import Chart, write_chart, write_picture
from pipeline.report.strip import Strip
from pipeline.report.strip_picture import strip_svg
from pipeline.report.tables import Table, to_text, write_table

TITLE = "Decant report"
CONTENTS = {
    "tables",
    "figures",
    "vector",
    "plots",
    "details.json",
    "metrics.json",
    "results.csv",
    "report.md",
    "report.html",
    "summary.txt",
}


@dataclass
class Report:
    """A report in the making: blocks for readers, and what a terminal shows of it."""

    folder: Path
    blocks: list[Block] = field(default_factory=list)
    summary: list[str] = field(default_factory=list)

    def chapter(self, title: str, *text: str) -> None:
        """Start a chapter."""
        self.blocks += [Heading(title), *map(Paragraph, text)]

    def table(
        self, table: Table, *, short: Table | None = None, shown: Table | None = None
    ) -> None:
        """Write a table's files and show it, or `shown`; `short` (or nothing) goes on the terminal."""
        write_table(table, self.folder / "tables")
        self.blocks.append(shown or table)
        if short is not None:
            self.summary.append(to_text(short))

    def pictures(self, charts: Sequence[Chart], text: str) -> None:
        """Write the files of charts and show them: the first with that caption, the others folded."""
        shown = []
        for place, chart in enumerate(charts):
            size = write_chart(chart, self.folder / "figures")
            short = f"{text.partition(': ')[0]}: {place + 1} of {len(charts)}, as above."
            shown.append(Picture(chart, short if place else text, size))
        self.blocks += shown[:1]
        if more := tuple(shown[1:]):
            self.blocks.append(More(f"{more[0].title}: {len(more)} more", more))

    def strip(self, strip: Strip, text: str) -> None:
        """Write the picture of a strip of images, and show it with a caption."""
        write_picture("strip", strip_svg(strip), self.folder / "figures")
        self.blocks.append(Seen("strip", strip, text))

    def warn(self, lines: Sequence[str]) -> None:
        """Say in the report and on the terminal what a reader must not overlook."""
        self.blocks += [Heading("Warnings"), *map(Paragraph, lines)] if lines else []
        self.summary += ["".join(f"warning: {line}\n" for line in lines)] if lines else []

    def finish(self) -> None:
        """Write report.md, report.html and summary.txt."""
        write_markdown(TITLE, self.blocks, self.folder)
        write_html(TITLE, self.blocks, self.folder)
        text = "\n".join(self.summary)
        (self.folder / "summary.txt").write_text(text, encoding="utf-8", newline="\n")


def replace_report(new: Path, out: Path) -> None:
    """Put a finished report in the place of an older one; raises ValueError as `check_replaceable`."""
    check_replaceable(out)
    out.mkdir(parents=True, exist_ok=True)
    for name in sorted(CONTENTS):
        old = out / name
        if old.is_dir() and not old.is_symlink():
            shutil.rmtree(old)
        else:
            old.unlink(missing_ok=True)
        if (new / name).exists():
            (new / name).rename(old)
    shutil.rmtree(new)


def check_replaceable(out: Path) -> None:
    """Raise ValueError where a folder holds anything but a report: names might clash."""
    if not out.exists():
        return
    if not out.is_dir():
        raise ValueError(f"{out} is not a folder; give another --out")
    others = sorted({path.name for path in out.iterdir()} - CONTENTS - {".gitignore"})
    if others:
        raise ValueError(
            f"{out} holds {', '.join(others[:3])}, which is no part of a report; "
            "move it, or give another --out"
        )
