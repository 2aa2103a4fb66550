"""What a kept file holds: the numbers of one network as JSON, and how it is read.

A network's record, timing, curves, scores and V-scores: all that the report says of it in numbers.
Whatever needs logits or features (t-SNE, the confusion matrix) cannot be made from it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.core.params import checked, read
from pipeline.evaluation.params import VScoreParams
from pipeline.results.record import Record, ResultsError

SCHEMA = 1


@checked
class KeptVScores:
    """V-scores (fractions) of features of a group of classes, one a replicate."""

    group: str
    split: str
    normalised: bool
    homogeneity: tuple[float, ...]
    completeness: tuple[float, ...]
    v_score: tuple[float, ...]


@checked
class KeptTiming:
    """How long each replicate took, and on what."""

    replicates: tuple[dict[str, Any], ...]


@checked
class Kept:
    """A kept file, but for the network's record.

    Attributes:
        timing: None where it was not known.
        curves: one a replicate: column -> a value an epoch, None where it was not evaluated.
        scores: name -> a value a replicate.
        clustering: the parameters that `v_scores` were made with.
    """

    timing: KeptTiming | None
    curves: tuple[dict[str, tuple[float | None, ...]], ...]
    scores: dict[str, tuple[float, ...]]
    clustering: VScoreParams
    v_scores: tuple[KeptVScores, ...]

    def check(self, replicates: int) -> None:
        """Raise ValueError where anything is of another number of replicates, or lacks columns."""
        counted = [self.curves, *self.scores.values()]
        for group in self.v_scores:
            counted += [group.homogeneity, group.completeness, group.v_score]
        if any(len(values) != replicates for values in counted):
            raise ValueError(f"the record has {replicates} replicates, other parts another number")
        if not all({"epoch", "test_top1_accuracy"} <= curve.keys() for curve in self.curves):
            raise ValueError("curves: columns are missing")


def read_kept(path: Path) -> tuple[Record, Kept]:
    """A kept file's content. Raises ResultsError for what is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ResultsError(f"{path} is not readable: {error}") from None
    refusal = f"{path} holds no kept results of schema {SCHEMA}"
    mending = "`decant keep` writes them"
    if not isinstance(content, Mapping) or content.get("schema") != SCHEMA:
        raise ResultsError(f"{refusal}; {mending}")
    parts = {name: part for name, part in content.items() if name not in ("schema", "record")}
    problems: list[str] = []
    kept = read(Kept, parts, "kept", problems)
    try:
        if problems:
            raise ValueError(problems[0])
        record = Record.parse(content.get("record"), path)
        kept.check(len(record.replicates))
    except ValueError as error:
        raise ResultsError(f"{refusal} ({error}); {mending}") from None
    return record, kept
