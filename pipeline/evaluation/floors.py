"""Whether all networks reach the accuracy that is asked of them."""

import pandas as pd

from pipeline.evaluation.frame import rows_of
from pipeline.evaluation.params import Floors


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
