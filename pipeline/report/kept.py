"""Kept results: what a trained network was, cost and scored, as one small JSON file.

Weights, logits and stores of a study are gigabytes; its numbers are kilobytes and belong beside the
code. Such a file holds a network's record, timing, curves, scores and V-scores, all that the report
says of it in numbers. Whatever needs logits or features (t-SNE, the confusion matrix) cannot be made
from it.

```
FOLDER/{teachers,baselines,students}/NAME.json
```
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeGuard

from pipeline.core.files import canonical_json, durable_write
from pipeline.report.numbers import MISSING, mean
from pipeline.report.params import VScoreParams
from pipeline.report.runs import Run, check_record
from pipeline.report.scores import Scores
from pipeline.report.tables import Table, Value, cells
from pipeline.report.vscores import MEASURES, VScores
from pipeline.results.record import ResultsError, is_record, timing_file

SCHEMA = 1
_V_SCORE_FACTS = {"group", "split", "normalised", *MEASURES}
PARTS = {"schema", "record", "timing", "curves", "scores", "clustering", "v_scores"}


def kept_file(folder: Path, section: str, name: str) -> Path:
    """Where the numbers of a network are kept."""
    return folder / section / f"{name}.json"


def keep_run(
    folder: Path,
    run: Run,
    scores: Scores,
    v_scores: Sequence[VScores],
    clustering: VScoreParams,
) -> Path:
    """Write a network's file below `folder`, atomically; returns its path.

    The same results give the same bytes, but for the timing.

    Args:
        v_scores: of the run, made with `clustering`.
    """
    content = {
        "schema": SCHEMA,
        "record": run.record,
        "timing": _timing(run),
        "curves": [_without_nan(run.curves(replicate)) for replicate in range(run.count)],
        "scores": scores.values,
        "clustering": asdict(clustering),
        "v_scores": [
            {
                "group": one.group,
                "split": one.split,
                "normalised": one.normalised,
                **{name: getattr(one, name) for name in MEASURES},
            }
            for one in v_scores
        ],
    }
    path = kept_file(folder, run.section, run.name)
    durable_write(path, canonical_json(content))
    return path


def _timing(run: Run) -> Any:
    if run.kept is not None:
        return run.kept["timing"]
    path = timing_file(run.folder)
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _without_nan(curves: Mapping[str, Sequence[float]]) -> dict[str, list[float | None]]:
    return {
        name: [None if math.isnan(value) else value for value in column]
        for name, column in curves.items()
    }


def read_kept(path: Path) -> dict[str, Any]:
    """A kept file's content. Raises ResultsError for what is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ResultsError(f"{path} is not readable: {error}") from None
    if not _is_kept(content):
        raise ResultsError(
            f"{path} holds no kept results of schema {SCHEMA}; `decant keep` writes them"
        )
    return content


def _is_kept(content: Any) -> TypeGuard[dict[str, Any]]:
    """Whether a value is made as a kept file is, as far as a report reads it."""
    if not isinstance(content, dict) or content.get("schema") != SCHEMA or set(content) != PARTS:
        return False
    record, timing = content["record"], content["timing"]
    if not is_record(record):
        return False
    count = len(record["replicates"])

    def per_replicate(value: Any, kind: type) -> bool:
        return (
            isinstance(value, list)
            and len(value) == count
            and all(isinstance(v, kind) for v in value)
        )

    v_scores = content["v_scores"]
    return (
        (
            timing is None
            or (isinstance(timing, dict) and isinstance(timing.get("replicates"), list))
        )
        and per_replicate(content["curves"], dict)
        and all({"epoch", "test_top1_accuracy"} <= curve.keys() for curve in content["curves"])
        and isinstance(content["scores"], dict)
        and isinstance(content["clustering"], dict)
        and isinstance(v_scores, list)
        and all(isinstance(one, dict) and one.keys() >= _V_SCORE_FACTS for one in v_scores)
        and all(per_replicate(one[name], float) for one in v_scores for name in MEASURES)
    )


def load_kept(
    folder: Path, section: str, name: str, params: Mapping[str, Any], fingerprint: str
) -> Run | None:
    """The run of an entry from its kept file; None where there is no such file.

    Args:
        params: the whole parameter file: a network that was trained with anything else is refused.
        fingerprint: of the data set that it must have been trained on.

    Raises ResultsError, naming the file.
    """
    path = kept_file(folder, section, name)
    if not path.exists():
        return None
    content = read_kept(path)
    record, entry = content["record"], params[section][name]
    check_record(record, entry, fingerprint, path)
    wanted: dict[str, Any] = {
        "training": {**params["training"], **(entry.get("training") or {})},
        "augmentation": params["augmentation"],
    }
    if section == "students":
        wanted["method"] = {"name": entry["method"], **params["methods"][entry["method"]]}
    changed = [part for part, values in wanted.items() if not _agrees(values, record[part])]
    if not _agrees(params["evaluation"]["vscore"], content["clustering"]):
        changed.append("evaluation.vscore")
    if changed:
        raise ResultsError(
            f"{path} was made with another {', '.join(changed)} than the parameters have now"
        )
    return Run(section, name, path, record, content)


def _agrees(given: Any, recorded: Any) -> bool:
    """Whether everything that is given was so recorded; the record also holds defaults."""
    if isinstance(given, Mapping):
        return isinstance(recorded, Mapping) and all(
            key in recorded and _agrees(value, recorded[key]) for key, value in given.items()
        )
    if isinstance(given, list | tuple):
        return list(given) == list(recorded)
    return bool(given == recorded)


def cost_table(runs: Sequence[Run]) -> Table:
    """What training took, of the networks whose timing was kept: a row for each."""
    timed = [
        (run, run.kept["timing"]["replicates"]) for run in runs if run.kept and run.kept["timing"]
    ]
    data = tuple(_cost(run, replicates) for run, replicates in timed)
    return Table(
        name="cost",
        title="What training took",
        caption="Of kept results: mean over the replicates. Minutes are wall-clock time, which other "
        "programs on the machine lengthen.",
        header=(
            *("Name", "Device", "Precision", "Steps", "Runs", "At once"),
            *("Minutes each", "Images/s", "Memory, GB", "torch"),
        ),
        rows=tuple(cells(*(_cost_text(key, value) for key, value in one.items())) for one in data),
        data=data,
        labels=4,
    )


def _cost(run: Run, replicates: Sequence[Mapping[str, Any]]) -> dict[str, Value]:
    def said(name: str) -> str:
        return ", ".join(sorted({str(one.get(name, MISSING)) for one in replicates}))

    memory = [
        one["device_memory_bytes"] / 1e9 for one in replicates if "device_memory_bytes" in one
    ]
    return {
        "name": run.name,
        "device": said("device"),
        "precision": said("precision"),
        "steps": said("steps"),
        "replicates": len(replicates),
        "at_once": said("replicates_at_once"),
        "minutes": mean([one["seconds"] / 60 for one in replicates]),
        "images_per_second": mean([one["images_per_second"] for one in replicates]),
        "device_memory_gb": max(memory, default=None),
        "torch": ", ".join(sorted({one["versions"]["torch"] for one in replicates})),
    }


def _cost_text(key: str, value: Value) -> str:
    if value is None:
        return MISSING
    return f"{value:,.1f}" if isinstance(value, float) else str(value)
