"""Whether all networks reach the accuracy that is asked of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.core.dataset import load_prepared
from pipeline.core.params import section
from pipeline.evaluation.frame import by_run, results_frame, rows_of
from pipeline.evaluation.networks import Networks
from pipeline.evaluation.params import EvaluationParams, Floors


def below_floor(runs: pd.DataFrame, floors: Floors) -> list[str]:
    """A line for each network of which a replicate misses the floor of its section.

    Args:
        runs: a row a network, as `by_run` gives them.
    """
    asked = runs["section"].map(vars(floors)).astype(float)
    return [
        f"{run.section}.{run.name} ({run.trained_with}): top-1 accuracy "
        f"{100 * run.lowest_top1_accuracy:.2f} % is below the floor of {100 * run.floor:g} % "
        f"(evaluation.floors.{run.section})"
        for run in rows_of(runs.assign(floor=asked).query("lowest_top1_accuracy < floor"))
    ]


def networks_below_floor(
    content: dict[str, Any], prepared: Path, folders: Mapping[str, Path]
) -> tuple[int, list[str]]:
    """How many networks of params.yaml there are, and what is to be said of those below their floors.

    Raises ResultsError where one is not trained.
    """
    floors = section(content, EvaluationParams, "evaluation").floors
    runs = Networks.of(content, **folders).load(load_prepared(prepared))
    return len(runs), below_floor(by_run(results_frame(runs)), floors)
