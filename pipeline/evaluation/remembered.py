"""What took long, kept in files between runs: results of functions, features, drawn charts.

(joblib's Memory would unpickle what lies there; these files hold numbers, checked against a digest.)
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
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


def remember_beside(features: Path) -> AbstractContextManager[None]:
    """Meanwhile keep V-scores and t-SNE in a folder beside that of the cached features."""
    return remember_in(features.with_name("clusters"))


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
            known = read_arrays(path)
            if known is None:
                known = {"result": function(*arguments, **options)}
                write_arrays(known, path)
            return known["result"]

        return call

    return wrap


def remember_latest(
    name: str, facts: Mapping[str, Any], make: Callable[[], dict[str, Arrays]]
) -> dict[str, Arrays]:
    """What `make` returns, kept under a name until the facts that it depends on (as JSON) change."""
    if not _folders:
        return make()
    path = _folders[-1] / f"{name}.safetensors"
    key = np.frombuffer(bytearray(work_key(facts), "ascii"), np.uint8)
    known = read_arrays(path) or {}
    if not np.array_equal(known.pop("key", ()), key):
        known = make()
        write_arrays({**known, "key": key}, path)
    return known


def _fact(value: Any) -> Any:
    return _digest("", {"": value}) if isinstance(value, np.ndarray) else value


def write_arrays(arrays: Mapping[str, Arrays], path: Path) -> None:
    """Write a file of arrays, atomically; its name is the key of what they are."""
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    save_tensors(tensors, path, {"sha256": _digest(path.stem, arrays)})


def read_arrays(path: Path) -> dict[str, Arrays] | None:
    """What `write_arrays` wrote; None where there is none, it is damaged, or of another key."""
    try:
        tensors, facts = read_tensors(path)
    except (ValueError, OSError):
        return None
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    return arrays if facts.get("sha256") == _digest(path.stem, arrays) else None


def _digest(key: str, arrays: Mapping[str, Arrays]) -> str:
    digest = hashlib.sha256(key.encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
