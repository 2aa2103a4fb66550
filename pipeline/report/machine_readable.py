"""What programs read: results.csv, metrics.json, details.json, and tables of what the figures show."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from numpy.typing import NDArray

from pipeline.core.errors import DecantError
from pipeline.evaluation.runs import Run
from pipeline.evaluation.scores import NAMES
from pipeline.report.chart_data import accuracy_curve
from pipeline.report.confusion import shown_run
from pipeline.report.tables import to_csv

BARS = ["network", "classes", "v_score", "deviation"]


def write_results(frame: pd.DataFrame, path: Path, parquet: Path | None = None) -> None:
    """The whole frame, numbers with all their digits: the same results give the same bytes.

    Raises DecantError where a Parquet file is wanted too and pyarrow is not there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_csv(path, index=False, encoding="utf-8", lineterminator="\n")
    if parquet is None:
        return
    try:
        frame.to_parquet(parquet, engine="pyarrow", index=False)
    except ImportError:
        raise DecantError("--parquet needs pyarrow: `pip install pyarrow`") from None


def write_metrics(networks: pd.DataFrame, path: Path) -> None:
    """Top-1 accuracy (fraction) and its standard deviation of every network, by section and name.

    So few that they lie in git, and that tables of experiments can be read.

    Args:
        networks: a row a network, as `by_run` gives them.
    """
    _write_json(_nested(networks, ["top1_accuracy"]), path)


def write_details(networks: pd.DataFrame, path: Path) -> None:
    """Every number: section, name, score -> mean, and its standard deviation where there is one."""
    content = _nested(networks, NAMES)
    v_scores = [
        str(name)
        for name in networks
        if str(name).startswith("v_score_") and not str(name).endswith("_deviation")
    ]
    for section, entries in _nested(networks, v_scores).items() if v_scores else ():
        for name, numbers in entries.items():
            short = {key.removeprefix("v_score_"): value for key, value in numbers.items()}
            content[section][name]["v_score"] = short
    _write_json(content, path)


def _nested(networks: pd.DataFrame, names: Sequence[str]) -> dict[str, Any]:
    """Section -> name -> number -> its mean and deviation, to six decimals."""
    columns = [column for name in names for column in (name, f"{name}_deviation")]
    content: dict[str, Any] = {}
    numbers = networks[columns].astype(float).round(6).to_dict("records")
    for section, name, row in zip(networks["section"], networks["name"], numbers, strict=True):
        known = {key: value for key, value in row.items() if not pd.isna(value)}
        content.setdefault(section, {})[name] = known
    return content


def _write_json(content: dict[str, Any], path: Path) -> None:
    text = json.dumps(content, indent=2, sort_keys=True, allow_nan=False)
    path.write_text(text + "\n", encoding="ascii", newline="\n")


def write_plot_data(
    runs: Sequence[Run],
    v_scores: pd.DataFrame | None,
    labels: NDArray[Any],
    class_names: Sequence[str],
    folder: Path,
) -> None:
    """Write curves.csv, vscores.csv and confusion.csv (of the network that `shown_run` chooses).

    Args:
        v_scores: as `vscore_frame` gives them, if any.
        labels: i4 [N], of the test images.
    """
    folder.mkdir(parents=True, exist_ok=True)
    bars = pd.DataFrame(columns=BARS) if v_scores is None else _bars(v_scores)
    confusions = _confusions(shown_run(runs), labels, class_names)
    for name, table in (("curves", _curves(runs)), ("vscores", bars), ("confusion", confusions)):
        (folder / f"{name}.csv").write_text(to_csv(table), encoding="utf-8", newline="\n")


def _curves(runs: Sequence[Run]) -> pd.DataFrame:
    """Mean over the replicates, of the epochs that were evaluated."""
    rows = [
        (f"{run.section}/{run.name}", epoch, float(accuracy))
        for run in runs
        for epoch, accuracy in zip(*_mean_curve(run), strict=True)
    ]
    return pd.DataFrame(rows, columns=["network", "epoch", "top1_accuracy"])


def _mean_curve(run: Run) -> tuple[list[int], NDArray[Any]]:
    epochs, accuracies = accuracy_curve(run)
    return epochs, accuracies.mean(axis=0)


def _bars(v_scores: pd.DataFrame) -> pd.DataFrame:
    raw = v_scores[v_scores["features"] == "raw"]
    network, classes = raw["section"] + "/" + raw["name"], raw["classes"] + ", " + raw["split"]
    return raw.assign(network=network, classes=classes, deviation=raw["v_score_deviation"])[BARS]


def _confusions(run: Run | None, labels: NDArray[Any], class_names: Sequence[str]) -> pd.DataFrame:
    if run is None:
        return pd.DataFrame(columns=["actual", "predicted"])
    predicted = run.test_logits(0).argmax(axis=1)
    names = pd.Series(class_names)
    return pd.DataFrame({"actual": names[labels].array, "predicted": names[predicted].array})
