"""The facts of a prepared data set, `dataset.json`: names and counts, read without its images."""

import json
from pathlib import Path
from typing import Any

from pipeline.core.errors import DecantError

SCHEMA = 1


class DatasetError(DecantError):
    """A data set that is missing, damaged or not what was asked for; says how to mend it."""


def read_class_names(folder: Path) -> tuple[str, tuple[str, ...]]:
    """Name and class names of a prepared data set, without reading its images.

    Raises `DatasetError` where there is none, or a damaged one.
    """
    facts = read_facts(folder)
    names = facts.get("class_names")
    if not isinstance(names, list):
        raise damaged(folder / "dataset.json", "entry missing or malformed: class_names")
    return str(facts.get("name")), tuple(str(name) for name in names)


def damaged(path: Path, what: str) -> DatasetError:
    """The error for a file or folder of a prepared data set that `what` is wrong with."""
    return DatasetError(
        f"{path}: {what}. Make the prepared data set again (`dvc repro prepare`) or pull it "
        "(`dvc pull`)."
    )


def read_facts(folder: Path) -> dict[str, Any]:
    """What `dataset.json` says, of this schema; raises `DatasetError`."""
    path = folder / "dataset.json"
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise damaged(path, f"cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"is not JSON ({error})") from error
    if not isinstance(facts, dict) or facts.get("schema") != SCHEMA:
        raise damaged(path, f"is not of schema {SCHEMA}")
    return facts
