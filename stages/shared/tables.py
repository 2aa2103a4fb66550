"""Tables, and numbers with units, for a terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

Row = Sequence[str]

_MOST_NAMES = 8


def print_table(
    header: Row, rows: Sequence[Row], *, labels: int = 1, width: int | None = None
) -> None:
    """Print a table whose first columns are text and whose others are numbers.

    Args:
        labels: how many columns are text.
        width: in characters; None: the terminal's, 80 where there is none.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, name in enumerate(header):
        left = index < labels
        table.add_column(
            name, justify="left" if left else "right", overflow="fold", no_wrap=not left
        )
    for row in rows:
        table.add_row(*(Text(shown(cell)) for cell in row))
    Console(highlight=False, markup=False, width=width).print(table)


def shown(text: str) -> str:
    """A line for the terminal: what came from a stranger's file must not move its cursor."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def listed(names: Sequence[str]) -> str:
    """The first names, and how many there are besides."""
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more


def bytes_text(count: float) -> str:
    """Bytes in decimal units."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count:.0f} B"


def hours_text(hours: float) -> str:
    """A duration in days, hours, minutes or seconds."""
    seconds = abs(hours) * 3600
    sign = "-" if hours < 0 else ""
    for unit, size, least in (("days", 86400, 4), ("h", 3600, 2), ("min", 60, 2)):
        if seconds >= least * size:
            return f"{sign}{seconds / size:,.1f} {unit}"
    return f"{sign}{seconds:.1f} s" if seconds else "-"
