"""All results as one pandas frame: of a report, or of a folder of kept results."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from pipeline.core.errors import DecantError
from pipeline.evaluation.frame import COUNTS, FACTS, NUMBERS, TEXTS, results_frame
from pipeline.evaluation.kept_format import read_kept
from pipeline.evaluation.runs import SECTIONS, Run
from pipeline.evaluation.scores import Scores
from pipeline.evaluation.vscores import VScores

RESULTS = "results.csv"
# Texts of which an empty one says something: no hyper-parameters, the usual network.
_EMPTY = ("options", "variant")


def read_results(path: Path) -> pd.DataFrame:
    """The frame of a report: its results.csv, a Parquet file of it, or the folder that holds it.

    A folder of kept results (`decant keep`) gives the frame of its networks, sorted by name. Text is
    `string`, counts are `int64`, other numbers `float64`; what does not apply is missing (docs/results.md).
    Raises DecantError where there is no such thing.
    """
    if path.is_dir():
        if (path / RESULTS).is_file():
            return _typed(_read_csv(path / RESULTS))
        return kept_results(path)
    if not path.is_file():
        raise DecantError(f"{path}: no such report (`decant evaluate` writes reports/{RESULTS})")
    if path.suffix == ".parquet":
        return _typed(_read_parquet(path))
    return _typed(_read_csv(path))


def kept_results(folder: Path) -> pd.DataFrame:
    """The frame of a folder of kept results. Raises DecantError where it holds none, or what is none."""
    runs, scores, v_scores = [], [], []
    for run in _kept_runs(folder):
        assert run.kept is not None
        runs.append(run)
        scores.append(Scores(run, run.kept.scores))
        v_scores += [VScores(run, **vars(kept)) for kept in run.kept.v_scores]
    if not runs:
        what = f"holds neither a report ({RESULTS}) nor kept results"
        raise DecantError(f"{folder}: {what} (`decant evaluate` and `decant keep` write them)")
    return _typed(results_frame(runs, scores, v_scores).reset_index(drop=True))


def _kept_runs(folder: Path) -> Iterator[Run]:
    for section in SECTIONS:
        for path in sorted((folder / section).glob("*.json")):
            yield Run(section, path.stem, path, *read_kept(path))


def _read_csv(path: Path) -> pd.DataFrame:
    """A network may be called `nan`, or 7: nothing is guessed of text."""
    texts = dict.fromkeys(TEXTS, "string")
    try:
        return pd.read_csv(path, dtype=texts, keep_default_na=False, na_values=[""])
    except ValueError as error:
        raise DecantError(f"{path}: is no table ({error})") from None


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path, engine="pyarrow")
    except ImportError:
        raise DecantError(f"{path} needs pyarrow: `pip install pyarrow`") from None
    except (OSError, ValueError) as error:
        raise DecantError(f"{path}: is no Parquet file ({error})") from None


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    missing = [name for name in (*TEXTS, *COUNTS, *FACTS, *NUMBERS) if name not in frame]
    if missing:
        raise DecantError(f"a report of another version: it has no column {', '.join(missing)}")
    types = dict.fromkeys(TEXTS, "string") | dict.fromkeys(COUNTS, "int64")
    frame = frame.astype(types | dict.fromkeys((*FACTS, *NUMBERS), "float64"))
    return frame.assign(**{name: frame[name].fillna("") for name in _EMPTY})
