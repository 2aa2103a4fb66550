"""Numbers over replicates, and how they are printed."""

import math
import statistics
from collections.abc import Sequence

MISSING = "–"  # noqa: RUF001 (an en dash is what a reader expects in an empty cell)


def mean(values: Sequence[float]) -> float | None:
    """Arithmetic mean; None of nothing."""
    return math.fsum(values) / len(values) if values else None


def deviation(values: Sequence[float]) -> float | None:
    """Sample standard deviation (n - 1); None of fewer than two values."""
    return statistics.stdev(values) if len(values) > 1 else None


def spread(values: Sequence[float], digits: int, scale: float = 1.0) -> str:
    """`mean ± deviation`, each with the given digits; the mean alone where there is one value."""
    middle, width = mean(values), deviation(values)
    if middle is None:
        return MISSING
    text = fixed(scale * middle, digits)
    return text if width is None else f"{text} ± {fixed(scale * width, digits)}"


def percent(values: Sequence[float], digits: int = 2) -> str:
    """Fractions as percent: `mean ± deviation`."""
    return spread(values, digits, 100.0)


def fixed(value: float, digits: int) -> str:
    """A number with a fixed count of digits; never `-0.00`.

    Equal numbers are printed equally, however they were summed: 25.595 and 25.594999999999999 would be
    25.60 and 25.59.
    """
    text = f"{round(value, 9):.{digits}f}"
    return text.removeprefix("-") if not float(text) else text


def signed(value: float, digits: int = 2) -> str:
    """A difference: always with its sign, except for zero."""
    text = fixed(value, digits)
    return text if text.startswith("-") or not float(text) else f"+{text}"
