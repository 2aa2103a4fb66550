"""Kept results: what a trained network was, cost and scored, as one small JSON file (`kept_format`).

Weights, logits and stores of a study are gigabytes; its numbers are kilobytes and belong beside the
code.

```
FOLDER/{teachers,baselines,students}/NAME.json
```
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pipeline.core.asked_dataset import load_dataset
from pipeline.core.files import canonical_json, durable_write
from pipeline.core.machine import load_machine
from pipeline.core.params import section
from pipeline.evaluation.kept_format import SCHEMA, Kept, read_kept
from pipeline.evaluation.networks import Networks, class_groups, features_of
from pipeline.evaluation.params import EvaluationParams, VScoreParams
from pipeline.evaluation.remembered import remember_beside
from pipeline.evaluation.runs import Run, check_record, recipe_of
from pipeline.evaluation.scores import Scores, score_runs
from pipeline.evaluation.vscores import MEASURES, VScores, vscore_runs
from pipeline.results.record import Record, ResultsError, timing_file
from pipeline.training.params import TrainingParams


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
        "record": run.record.facts(),
        "timing": _timing(run),
        "curves": [_without_nan(run.curves(replicate)) for replicate in range(run.count)],
        "scores": scores.values,
        "clustering": asdict(clustering),
        "v_scores": [
            {
                "group": measured.group,
                "split": measured.split,
                "normalised": measured.normalised,
                **{name: getattr(measured, name) for name in MEASURES},
            }
            for measured in v_scores
        ],
    }
    path = kept_file(folder, run.section, run.name)
    durable_write(path, canonical_json(content))
    return path


def keep_networks(
    content: dict[str, Any],
    prepared: Path,
    folders: Mapping[str, Path],
    features: Path,
    out: Path,
    tell: Callable[[str], None],
) -> tuple[int, int]:
    """Write the numbers of every trained network into a folder; returns how many, and of how many.

    Arguments and errors are those of `pipeline.evaluate.evaluate_networks`.
    """
    params = section(content, EvaluationParams, "evaluation")
    networks = Networks.of(content, **folders)
    data, workers = load_dataset(prepared, content), load_machine(content).cores
    runs = networks.load(data, lambda part, name: None)
    computed = features_of(runs, content, params, data, features, tell)
    with remember_beside(features):
        v_scores = vscore_runs(runs, class_groups(params, data), params.vscore, computed, workers)
    for scores in score_runs(runs, data.test.labels, workers):
        own = [score for score in v_scores if score.run is scores.run]
        keep_run(out, scores.run, scores, own, params.vscore)
    return len(runs), networks.count


def _timing(run: Run) -> Any:
    if run.kept is not None:
        return None if run.kept.timing is None else asdict(run.kept.timing)
    path = timing_file(run.folder)
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _without_nan(curves: Mapping[str, Sequence[float]]) -> dict[str, list[float | None]]:
    return {
        name: [None if math.isnan(value) else value for value in column]
        for name, column in curves.items()
    }


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
    record, kept = read_kept(path)
    entry = params[section][name]
    check_record(record, entry, fingerprint, path)
    try:
        compared = list(_comparisons(section, entry, params, record, kept))
    except ResultsError as error:
        raise ResultsError(f"{path}: {error}") from None
    changed = [what for what, agrees in compared if not agrees]
    if changed:
        raise ResultsError(
            f"{path} was made with another {', '.join(changed)} than the parameters have now"
        )
    return Run(section, name, path, record, kept)


def _comparisons(
    part: str, entry: Mapping[str, Any], params: Mapping[str, Any], record: Record, kept: Kept
) -> Iterator[tuple[str, bool]]:
    """Parts of the parameters, and whether a network was made with them as they are now."""
    if not entry.get("weights"):
        own = entry.get("training") or {}
        yield "training", _same_recipe({**params["training"], **own}, record)
        yield "augmentation", params["augmentation"] == record.augmentation
    if part == "students":
        method = {"name": entry["method"], **params["methods"][entry["method"]]}
        yield "method", method == record.facts()["method"]
    given, done = section(params, VScoreParams, "evaluation", "vscore"), kept.clustering
    same = (given.seed, given.n_init) == (done.seed, done.n_init)
    yield "evaluation.vscore", same and given.groups.items() <= done.groups.items()


def _same_recipe(training: Mapping[str, Any], record: Record) -> bool:
    """Whether a record is of this recipe: what either does not name has its default."""
    given = section({"training": training}, TrainingParams, "training")
    recorded = recipe_of(record)
    if record.ranks == 1:  # where it has no effect, and is not recorded
        given = replace(given, batch_statistics=recorded.batch_statistics)
    return given == recorded
