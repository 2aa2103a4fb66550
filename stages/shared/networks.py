"""Options of the commands that read trained networks: where params.yaml's networks lie."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from pipeline.core.files import PREPARED, TEACHERS, WORK
from stages.shared.options import path_option

F = TypeVar("F", bound=Callable[..., Any])

features_option = path_option(
    "--features", WORK / "features", "Folder of features that have been computed."
)


def network_options(function: F) -> F:
    """Where the prepared data set, the trained networks lie."""
    options = (
        path_option("--prepared", PREPARED, "Prepared data set."),
        path_option("--teachers", TEACHERS, "Folder of the trained teachers."),
        path_option("--baselines", "data/baselines", "Folder of the baselines."),
        path_option("--students", "data/students", "Folder of the students."),
    )
    return functools.reduce(lambda made, option: option(made), reversed(options), function)
