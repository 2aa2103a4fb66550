"""The figures that are measured, what they must reach, and how they are shown and written."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.timing import Rounds


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One line of the table.

    `aim` is None where it follows from what was measured. `at_most` turns the comparison round.
    """

    text: str
    must: float
    aim: float | None
    at_most: bool = False
    gpu: bool = False


FIGURES: dict[str, Figure] = {
    "cached_vs_online_resnet56_resnet20": Figure(
        text="cached step against the live teacher, resnet56 -> resnet20", must=1.65, aim=None
    ),
    "cached_vs_online_resnet110_resnet20": Figure(
        text="cached step against the live teacher, resnet110 -> resnet20", must=2.2, aim=None
    ),
    "cached_vs_plain_step": Figure(
        text="cached step against a plain cross-entropy step", must=1.03, aim=1.01, at_most=True
    ),
    "epoch_vs_field_resnet56_resnet20": Figure(
        text="epoch against the field's online loop, resnet56 -> resnet20", must=3.3, aim=4
    ),
    "epoch_vs_field_resnet110_resnet20": Figure(
        text="epoch against the field's online loop, resnet110 -> resnet20", must=4.5, aim=6
    ),
    "augmentation_vs_pil": Figure(text="augmentation and mixup against PIL", must=20, aim=40),
    "dump_vs_forward": Figure(
        text="dump against the bare teacher forward at the same settings", must=0.95, aim=0.99
    ),
    "dump_bf16_vs_eager_float32": Figure(
        text="dump in bfloat16 against a float32 NCHW eager forward", must=1.8, aim=2.2
    ),
    "view_read_vs_memcpy": Figure(
        text="view read from the store (CRC checked) against memcpy", must=0.15, aim=0.3
    ),
    "help_vs_click": Figure(
        text='decant --help against python -c "import click"', must=3, aim=1.5, at_most=True
    ),
    "gpu_graph_vs_eager": Figure(
        text="GPU, graph against eager, cached, resnet20, batch 64", must=8, aim=12, gpu=True
    ),
    "gpu_epoch_vs_field": Figure(
        text="GPU, epoch against the field's online loop", must=15, aim=40, gpu=True
    ),
    "gpu_four_replicates_vs_one": Figure(
        text="GPU, 4 replicates together against one, images/s", must=2.0, aim=3.5, gpu=True
    ),
    "gpu_dump_images_per_s": Figure(
        text="GPU, dump resnet110, images/s", must=100_000, aim=300_000, gpu=True
    ),
}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A figure as measured: `value` is None where this machine or this version has nothing to measure.

    `low` and `high` are the quartiles over the rounds. `processor` is the same ratio in processor
    time, where both sides run in one process. `facts` says what went into it.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    processor: float | None = None
    aim: float | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        found: Rounds,
        numerator: str,
        denominator: str,
        *,
        aim: float | None = None,
        processor_time: bool = True,
        facts: Mapping[str, Any] | None = None,
    ) -> "Measured":
        """How many times as long one contender takes as another."""
        ratio = found.ratio(numerator, denominator)
        busy = found.processor_ratio(numerator, denominator) if processor_time else None
        return cls(
            value=ratio.median,
            low=ratio.low,
            high=ratio.high,
            processor=busy,
            aim=aim,
            facts=facts or {},
        )


def keys_for(device: str) -> list[str]:
    """The figures that a run on a device measures, in the table's order."""
    return [key for key, figure in FIGURES.items() if device == "cuda" or not figure.gpu]


def table(measured: Mapping[str, Measured]) -> Table:
    """Figure, measured (with quartiles), must reach, aim."""
    shown = Table(title="Decant's benchmarks", title_justify="left")
    shown.add_column("figure")
    for name in ("measured", "quartiles", "must reach", "aim"):
        shown.add_column(name, justify="right")
    for key, result in measured.items():
        figure = FIGURES[key]
        limit = f"at most {_number(figure.must)}" if figure.at_most else _number(figure.must)
        aim = _number(result.aim if figure.aim is None else figure.aim)
        value = "not available" if result.value is None else _number(result.value)
        spread = "" if result.low is None else f"{_number(result.low)} - {_number(result.high)}"
        missed = result.value is not None and not reached(figure, result.value)
        shown.add_row(figure.text, value, spread, limit, aim, style="yellow" if missed else None)
    return shown


def reached(figure: Figure, value: float) -> bool:
    """Whether a value is what the figure must reach."""
    return value <= figure.must if figure.at_most else value >= figure.must


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def write_results(
    path: Path, measured: Mapping[str, Measured], facts: Mapping[str, Any], keys: Iterable[str]
) -> None:
    """Write what was measured as JSON: the facts of the run, `ratios` by key, and the details."""
    content = {
        **facts,
        "ratios": {key: _rounded(measured[key].value) for key in keys},
        "details": {key: _rounded(asdict(measured[key])) for key in keys},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _rounded(value: Any) -> Any:
    """Four significant digits are more than any timing has."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value
