"""Numbers over replicates, and how they are printed."""

import math
import statistics
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal

MISSING = "–"  # noqa: RUF001 (an en dash is what a reader expects in an empty cell)


def mean(values: Sequence[float]) -> float | None:
    """Arithmetic mean; None of nothing."""
    return math.fsum(values) / len(values) if values else None


def deviation(values: Sequence[float]) -> float | None:
    """Sample standard deviation (n - 1); None of fewer than two values."""
    return statistics.stdev(values) if len(values) > 1 else None


def spread(values: Sequence[float], digits: int, scale: float = 1.0) -> str:
    """`mean ± deviation`, each with the given digits; the mean alone where there is one value."""
    return spread_text(mean(values), deviation(values), digits, scale)


def spread_text(middle: float | None, width: float | None, digits: int, scale: float = 1.0) -> str:
    """`spread` of a mean and a deviation that are known; None or NaN: there is none."""
    if middle is None or math.isnan(middle):
        return MISSING
    text = fixed(scale * middle, digits)
    known = width is not None and not math.isnan(width)
    return f"{text} ± {fixed(scale * width, digits)}" if known and width is not None else text


def percent(values: Sequence[float], digits: int = 2) -> str:
    """Fractions as percent: `mean ± deviation`."""
    return spread(values, digits, 100.0)


def fixed(value: float, digits: int) -> str:
    """A number with a fixed count of digits, halves away from zero; never `-0.00`.

    Halves are frequent: the mean of two accuracies on 10,000 images is one in every other case. They are
    rounded as decimals: the binary numbers nearest to 56.475 and 56.485 would both be 56.48.
    Equal numbers are printed equally, however they were summed (25.594999999999999 is 25.595).
    """
    if not math.isfinite(value):
        return f"{value:f}"
    exact = Decimal(repr(round(float(value), 9)))
    text = f"{exact.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP):f}"
    return text.removeprefix("-") if not float(text) else text


def signed(value: float | None, digits: int = 2) -> str:
    """A difference: always with its sign, except for zero; None or NaN: there is none."""
    if value is None or math.isnan(value):
        return MISSING
    text = fixed(value, digits)
    return text if text.startswith("-") or not float(text) else f"+{text}"


def printed(value: float, digits: int = 2) -> float:
    """A number as it is printed: what is printed as zero is zero, what is printed alike is equal."""
    return float(fixed(value, digits))
