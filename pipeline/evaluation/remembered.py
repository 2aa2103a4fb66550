"""Results of slow functions of arrays, kept in files between runs.

(joblib's Memory would unpickle what lies there; these files hold numbers, checked against a digest.)
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import numpy as np
import sklearn
import torch
from numpy.typing import NDArray

from pipeline.core.files import work_key
from pipeline.results.tensors import read_tensors, save_tensors

P = ParamSpec("P")
Arrays = NDArray[Any]
_folders: list[Path] = []  # the last one is used


@contextmanager
def remember_in(folder: Path) -> Iterator[None]:
    """Meanwhile keep results of `remembered` functions below a folder."""
    _folders.append(folder)
    try:
        yield
    finally:
        _folders.pop()


def remembered(version: int) -> Callable[[Callable[P, Arrays]], Callable[P, Arrays]]:
    """Keep what a function of arrays and numbers returns, an array, under all that it depends on.

    That is its arguments, the version of scikit-learn, and `version`, which grows where its code
    changes what it returns. A damaged file is made anew.
    """

    def wrap(function: Callable[P, Arrays]) -> Callable[P, Arrays]:
        @wraps(function)
        def call(*arguments: P.args, **options: P.kwargs) -> Arrays:
            if not _folders:
                return function(*arguments, **options)
            facts = {
                "function": [function.__name__, version, sklearn.__version__, np.__version__],
                "arguments": [_fact(value) for value in arguments],
                "options": {name: _fact(value) for name, value in options.items()},
            }
            path = _folders[-1] / f"{function.__name__}-{work_key(facts)}.safetensors"
            known = _read(path)
            if known is None:
                known = function(*arguments, **options)
                facts = {"sha256": _digest(known)}
                save_tensors({"result": torch.from_numpy(known)}, path, {"sha256": _digest(known)})
            return known

        return call

    return wrap


def _fact(value: Any) -> Any:
    return _digest(value) if isinstance(value, np.ndarray) else value


def _digest(array: Arrays) -> str:
    kind = f"{array.dtype.str} {array.shape}".encode("ascii")
    return hashlib.sha256(kind + np.ascontiguousarray(array).tobytes()).hexdigest()


def _read(path: Path) -> Arrays | None:
    try:
        tensors, facts = read_tensors(path)
    except (ValueError, OSError):
        return None
    result: Arrays = tensors["result"].numpy()
    return result if facts.get("sha256") == _digest(result) else None
