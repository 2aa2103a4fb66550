"""A table once, written as CSV (for machines), Markdown and LaTeX (for readers).

pandas writes the CSV. Its Markdown and LaTeX know no marks beside numbers, no published number below a
measured one and no captions of their own: those few lines stay ours.
"""

import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

TEXT_WIDTH = 100


@dataclass(frozen=True)
class Cell:
    """What a reader sees; `small` follows on a line of its own, or in brackets where there are none."""

    text: str
    bold: bool = False
    small: str = ""
    underline: bool = False


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table for readers (`header`, `rows`) and the same facts for machines (`data`).

    `name` is the stem of its files; the first `labels` columns hold text and align left. Columns in
    `prose` hold sentences and are wrapped.
    """

    name: str
    title: str
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    data: pd.DataFrame = field(default_factory=pd.DataFrame)
    labels: int = 1
    prose: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        assert all(len(row) == len(self.header) for row in self.rows), self.name


def cells(*texts: str) -> tuple[Cell, ...]:
    """Plain cells."""
    return tuple(Cell(text) for text in texts)


def text_rows(*columns: Iterable[str]) -> tuple[tuple[Cell, ...], ...]:
    """Rows of plain cells from columns of text."""
    return tuple(cells(*row) for row in zip(*columns, strict=True))


def distinct(labels: Sequence[str], longer: Sequence[str]) -> list[str]:
    """Each label as it is, or its longer form where several are equal.

    >>> distinct(["a", "b", "a"], ["x/a", "x/b", "y/a"])
    ['x/a', 'b', 'y/a']
    """
    counts = Counter(labels)
    return [
        whole if counts[label] > 1 else label for label, whole in zip(labels, longer, strict=True)
    ]


def network_names(networks: pd.DataFrame) -> list[str]:
    """What rows of networks (`section`, `name`) are called: with the section where others have the name."""
    names = networks["name"].tolist()
    return distinct(names, (networks["section"] + "/" + networks["name"]).tolist())


def write_table(table: Table, folder: Path) -> None:
    """Write NAME.csv, NAME.md and NAME.tex."""
    folder.mkdir(parents=True, exist_ok=True)
    for suffix, text in (
        ("csv", to_csv(table.data)),
        ("md", to_markdown(table)),
        ("tex", to_latex(table)),
    ):
        (folder / f"{table.name}.{suffix}").write_text(text, encoding="utf-8", newline="\n")


def to_csv(data: pd.DataFrame) -> str:
    """Comma-separated rows under a header; numbers with six decimals at most, empty where None."""
    text: str = data.map(_csv_value).to_csv(index=False, lineterminator="\n")
    return text


def _csv_value(value: Any) -> Any:
    if isinstance(value, float):
        return "" if pd.isna(value) else f"{round(value, 6):.12g}"
    return value


def to_markdown(table: Table) -> str:
    """Title, the table with aligned columns, caption."""
    body = [[_markdown(cell) for cell in row] for row in table.rows]
    header = [name.replace("|", "\\|") for name in table.header]
    widths = [max(3, *(len(row[i]) for row in [header, *body])) for i in range(len(header))]
    rules = ["-" * w if i < table.labels else "-" * (w - 1) + ":" for i, w in enumerate(widths)]

    def line(row: Sequence[str]) -> str:
        padded = [
            text.ljust(w) if i < table.labels else text.rjust(w)
            for i, (text, w) in enumerate(zip(row, widths, strict=True))
        ]
        return "| " + " | ".join(padded) + " |"

    lines = [line(header), line(rules), *map(line, body)]
    return f"**{table.title}**\n\n" + "\n".join(lines) + f"\n\n{table.caption}\n"


def _markdown(cell: Cell) -> str:
    text = cell.text.replace("|", "\\|")
    text = f"<u>{text}</u>" if cell.underline else text
    text = f"**{text}**" if cell.bold else text
    return f"{text} ({cell.small})" if cell.small else text


_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "→": r"$\rightarrow$",
    "×": r"$\times$",  # noqa: RUF001
    "–": "--",  # noqa: RUF001
}


def latex_text(text: str) -> str:
    """Text with LaTeX's special characters escaped."""
    return "".join(_LATEX.get(character, character) for character in text)


def to_latex(table: Table) -> str:
    """A `table` float for the packages booktabs and graphicx; wide tables shrink to the line."""
    kinds = "l" * table.labels + "r" * (len(table.header) - table.labels)
    columns = "".join("p{0.36\\linewidth}" if i in table.prose else c for i, c in enumerate(kinds))
    shrink = ("  \\resizebox{\\linewidth}{!}{%\n", "}") if len(kinds) > 7 else ("", "")
    lines = [
        "% needs \\usepackage{booktabs,graphicx}",
        "\\begin{table}",
        "  \\centering",
        f"  \\caption{{{latex_text(f'{table.title}. {table.caption}')}}}",
        f"{shrink[0]}  \\begin{{tabular}}{{{columns}}}",
        "    \\toprule",
        "    " + " & ".join(map(latex_text, table.header)) + " \\\\",
        "    \\midrule",
        *("    " + " & ".join(map(_latex, row)) + " \\\\" for row in table.rows),
        "    \\bottomrule",
        "  \\end{tabular}" + shrink[1],
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _latex(cell: Cell) -> str:
    text = latex_text(cell.text)
    text = f"\\underline{{{text}}}" if cell.underline else text
    text = f"\\textbf{{{text}}}" if cell.bold else text
    return f"{text} {{\\scriptsize {latex_text(cell.small)}}}" if cell.small else text


def to_text(table: Table) -> str:
    """Title, aligned columns and wrapped caption, for a terminal; bold cells carry a star."""
    body = [[cell.text + ("*" if cell.bold else "") for cell in row] for row in table.rows]
    header = list(table.header)
    widths = [max(len(row[i]) for row in [header, *body]) for i in range(len(header))]

    def line(row: Sequence[str]) -> str:
        padded = [
            text.ljust(w) if i < table.labels else text.rjust(w)
            for i, (text, w) in enumerate(zip(row, widths, strict=True))
        ]
        return "  ".join(padded).rstrip()

    rule = "  ".join("-" * w for w in widths)
    caption = textwrap.wrap(table.caption, TEXT_WIDTH)
    return "\n".join([table.title, "", line(header), rule, *map(line, body), "", *caption]) + "\n"
