"""How two working folders differ after a run: the rule for every change of code, "equal before and after".

Compared are the prepared data and the store files byte by byte, weights and other arrays number by number,
records value by value, and the numbers of the tables. Times, machine and versions are left aside.
"""

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from zarr.storage import LocalStore

from pipeline.core.arrays import read_array
from pipeline.models.weights import load_weights, weights_digest
from pipeline.results.record import CURVES, RECORD, TEST_LOGITS, TIMING, WEIGHTS
from pipeline.store.format.check import read_manifest
from pipeline.store.format.layout import MANIFEST, group_arrays
from pipeline.store.format.trust import TrustedStore
from pipeline.store.read import ViewGroup

TRAINED = ("data/teachers", "data/baselines", "data/students")
STORES, PREPARED = "data/stores", "data/prepared"
PLACES = (
    *(
        f"{folder}/**/*"
        for folder in (PREPARED, *TRAINED, STORES, "data/versions", "data/imported")
    ),
    *("reports/*.json", "reports/tables/*.csv", "reports/plots/*.csv"),
)
# What a trained network's folder always holds; other files of it may come and go with the code.
ESSENTIAL = {RECORD, WEIGHTS, CURVES, TEST_LOGITS}
# Versions of what computed; and digests of what is compared itself, or lies beside such versions.
_ASIDE = {"versions"}
_MANIFEST_ASIDE = {*_ASIDE, "digest", "files"}
_VERSION_ASIDE = {*_ASIDE, "manifest"}


@dataclass(frozen=True)
class Difference:
    """What differs: a file or folder, a place in it (a key, tensor or cell; may be empty), and how."""

    path: str
    place: str
    what: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.path, self.place, self.what) if part)


@dataclass(frozen=True)
class Comparison:
    """What differs, what only one code version wrote (`only`: folder -> files), and files compared."""

    differences: Sequence[Difference]
    only: Mapping[Path, Sequence[str]]
    compared: int


def compare_folders(
    first: Path, second: Path, *, tolerance: float = 0.0, ignore: Sequence[str] = ()
) -> Comparison:
    """Compare two working folders (those that hold `data/` and `reports/`).

    Args:
        tolerance: largest absolute difference of two numbers that are taken for equal; above 0, bytes
            and digests may differ where the numbers do not.
        ignore: patterns (`*`, `?`) of files, by path or name, or of places in them (`record.json:kind`).

    Raises ValueError where a folder holds nothing to compare.
    """
    folders = {first: _files(first, ignore), second: _files(second, ignore)}
    ours, theirs = folders[first], folders[second]
    differences: list[Difference] = []
    only: dict[Path, list[str]] = {first: [], second: []}
    for folder, other in ((first, theirs), (second, ours)):
        for unit in dict.fromkeys(_missing(folders[folder], other)):
            if _may_be_absent(unit):
                only[folder].append(unit)
            else:
                differences.append(Difference(unit, "", f"only in {folder}"))
    common = sorted(ours.keys() & theirs.keys())
    for name in common:
        of_file = _compare_file(name, ours[name], theirs[name], tolerance)
        differences += (d for d in of_file if not _is_ignored(d.path, d.place, ignore))
    return Comparison(differences, only, len(common))


def _files(folder: Path, ignore: Sequence[str]) -> dict[str, Path]:
    paths = {path for place in PLACES for path in folder.glob(place) if path.is_file()}
    if not paths:
        raise ValueError(
            f"{folder}: holds no results to compare; name a folder in which data/ and reports/ lie"
        )
    names = {path.relative_to(folder).as_posix(): path for path in sorted(paths)}
    return {
        name: path
        for name, path in names.items()
        if not path.name.endswith((TIMING, ".gitignore")) and not _is_ignored(name, "", ignore)
    }


def _is_ignored(path: str, place: str, ignore: Sequence[str]) -> bool:
    suffix = f":{place}" if place else ""
    names = (path + suffix, path.rpartition("/")[2] + suffix)
    return any(fnmatchcase(name, pattern) for name in names for pattern in ignore)


def _missing(files: Iterable[str], other: Iterable[str]) -> Iterator[str]:
    """Files that the other folder lacks; a network or store that is absent as a whole is named once."""
    there = set(other)
    units = {_unit(name) for name in there}
    for name in files:
        if name not in there:
            yield name if _unit(name) in units else _unit(name)


def _unit(name: str) -> str:
    """The network or store that a file belongs to; of other files their folder."""
    return "/".join(
        name.split("/")[:3] if name.startswith((*TRAINED, STORES)) else name.split("/")[:2]
    )


def _may_be_absent(name: str) -> bool:
    inside = name.split("/")[3:]
    return name.startswith(TRAINED) and bool(inside) and inside[-1] not in ESSENTIAL


def _compare_file(name: str, first: Path, second: Path, tolerance: float) -> Iterator[Difference]:
    if first.read_bytes() == second.read_bytes():
        return
    try:
        places = dict(_places(name, first, second, tolerance))
    except (ValueError, OSError, KeyError) as error:  # KeyError: of an array that no store has
        places = {"": f"other bytes, and not readable ({' '.join(str(error).split())})"}
    if not places and tolerance == 0 and _is_by_bytes(name):
        places = {"": "other bytes, the same numbers"}
    yield from (Difference(name, place, what) for place, what in places.items())


def _is_by_bytes(name: str) -> bool:
    return name.startswith((PREPARED, STORES)) and not name.endswith(MANIFEST)


def _places(name: str, first: Path, second: Path, tolerance: float) -> Iterator[tuple[str, str]]:
    """Place -> what differs there, of two files that do not have the same bytes."""
    if name.startswith(STORES) and first.name.startswith("c."):
        return _arrays("", _chunk(name, first), _chunk(name, second), tolerance)
    if first.suffix == ".safetensors":
        return _weights(first, second, tolerance)
    if first.suffix == ".npy":
        return _arrays("", read_array(first), read_array(second), tolerance)
    if first.suffix == ".csv":
        return _values(_cells(first), _cells(second), tolerance)
    if first.suffix == ".json" or name.startswith("data/versions"):
        aside = _MANIFEST_ASIDE if first.name == MANIFEST else _ASIDE
        aside = _VERSION_ASIDE if name.startswith("data/versions") else aside
        aside = {*aside, "weights_sha256"} if tolerance else aside  # of numbers that are compared
        return _values(_json(first, aside), _json(second, aside), tolerance)
    return iter([("", "other bytes")])


def _arrays(
    place: str, first: NDArray[Any], second: NDArray[Any], tolerance: float
) -> Iterator[tuple[str, str]]:
    if (first.shape, first.dtype) != (second.shape, second.dtype):
        yield place, f"{first.dtype} {first.shape}, {second.dtype} {second.shape}"
        return
    ours, theirs = first.astype(np.float64), second.astype(np.float64)
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))  # NaN pads chunks of a plan
    with np.errstate(invalid="ignore"):
        apart = np.where(same, 0.0, np.abs(ours - theirs))
    if count := int((~(apart <= tolerance)).sum()):  # also NaN in one of them
        largest = f"largest difference {apart.max():.3g}"
        yield place, f"{count:,} of {apart.size:,} numbers, {largest}"


def _weights(first: Path, second: Path, tolerance: float) -> Iterator[tuple[str, str]]:
    ours, theirs = load_weights(first), load_weights(second)
    if weights_digest(ours) == weights_digest(theirs):
        return
    for name in sorted(ours.keys() | theirs.keys()):
        if name in ours and name in theirs:
            yield from _arrays(name, ours[name].numpy(), theirs[name].numpy(), tolerance)
        else:
            yield name, f"only in the {'first' if name in ours else 'second'}"


def _chunk(name: str, path: Path) -> NDArray[Any]:
    """The numbers of a chunk's view or split; of logits what is read of them, whatever the codec."""
    depth = len(name.split("/")) - 3  # data/stores/T.zarr/GROUP/ARRAY.../c.0.0
    store = path.parents[depth - 1]
    group, *inside = path.relative_to(store).parts
    array, index = "/".join(inside[:-1]), tuple(map(int, inside[-1].split(".")[1:]))
    manifest = read_manifest(store, group)
    if array.startswith("logits"):
        return ViewGroup(store, manifest).logits(index[0])
    specs = group_arrays(manifest.shape)
    files = LocalStore(store / group, read_only=True)
    trusted = TrustedStore(files, store, group, specs, manifest.files)
    return trusted.read(array, index[: specs[array].lead])


def _json(path: Path, aside: set[str]) -> dict[str, Any]:
    return dict(_leaves(json.loads(path.read_text(encoding="utf-8")), aside))


def _leaves(value: Any, aside: set[str], where: str = "") -> Iterator[tuple[str, Any]]:
    """Nested mappings and lists as dotted keys; empty ones count as values."""
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    if not items:
        yield where, value
    for key, item in items:
        if key not in aside:
            yield from _leaves(item, aside, f"{where}.{key}" if where else str(key))


def _cells(path: Path) -> dict[str, str]:
    """Line and column -> text, of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = list(csv.reader(file)) or [[]]
    cells = {f"line 1 {index}": name for index, name in enumerate(header)}
    for line, row in enumerate(rows, 2):
        # Names of columns may repeat: the number keeps them apart.
        cells |= {f"line {line} {_column(header, index)}": cell for index, cell in enumerate(row)}
    return cells


def _column(header: Sequence[str], index: int) -> str:
    name = header[index] if index < len(header) else ""
    return name if name and header.count(name) == 1 else f"{name}[{index}]"


def _values(
    first: Mapping[str, Any], second: Mapping[str, Any], tolerance: float
) -> Iterator[tuple[str, str]]:
    for place in dict.fromkeys([*first, *second]):
        if place not in first or place not in second:
            yield place, f"only in the {'first' if place in first else 'second'}"
        elif not _same(first[place], second[place], tolerance):
            yield place, f"{first[place]} in the first, {second[place]} in the second"


def _same(first: Any, second: Any, tolerance: float) -> bool:
    if first == second and type(first) is type(second):
        return True
    ours, theirs = _number(first), _number(second)
    if ours is None or theirs is None:
        return False
    return (math.isnan(ours) and math.isnan(theirs)) or abs(ours - theirs) <= tolerance


def _number(value: Any) -> float | None:
    """A number, or the text of one in a table."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None
