"""All results as one pandas frame."""

from pathlib import Path

import pandas as pd

from pipeline.tools.places import project_folder
from pipeline.tools.results import RESULTS, read_results


def results(path: str | Path | None = None) -> pd.DataFrame:
    """All results as one frame: a row for each replicate of each network (docs/results.md).

    Args:
        path: a results.csv or a Parquet file of it, the folder of a report, or a folder of kept results
            (`decant keep`), from the working folder or from the project's. None: the project's report.

    Text is `string`, counts are `int64`, other numbers `float64`. Raises DecantError where there is no
    such report.
    """
    project = project_folder()
    if path is None:
        return read_results(project / "reports" / RESULTS)
    path = Path(path).expanduser()
    return read_results(path if path.exists() else project / path)
