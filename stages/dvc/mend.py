"""Damaged files of a store dropped, from DVC's cache too, and fetched anew.

DVC alone does not always mend: where its cache is linked, a damaged file is the cached one as well,
and DVC takes a cached file that looks untouched for a good one.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePath

from pipeline.store.format.check import read_manifest
from pipeline.store.format.errors import StoreError
from pipeline.store.format.layout import GROUPS
from pipeline.tools.pin import pin_of
from pipeline.tools.verify import Problem, verify_store
from stages.dvc.command import run_dvc
from stages.dvc.lock import md5_of
from stages.dvc.upstream import cache_folder
from stages.shared.tables import shown

# A file of these problems is not what was published. What else may be wrong (an impossible plan with
# a hash that is right) was published so, and fetching it again would change nothing.
DAMAGED = ("DamagedFileError", "WrongSizeError", "MetadataError", "ManifestError")
MISSING = ("StoreMissingError", "ManifestMissingError", "MissingFileError")
_ROUNDS = 3  # a damaged manifest hides what is wrong with the files that it lists


def mend_store(store: Path, tell: Callable[[str], None]) -> list[Problem]:
    """Mend a store; returns what is still wrong with it.

    `tell` is told what is done, in lines. Raises ValueError, and changes nothing, where there is
    something that does not belong to the store: DVC would delete that.
    """
    if address := pin_of(store)[0]:
        raise ValueError(
            f"{store}: read in place at {address}; `decant store verify {store}` says what is wrong there, "
            f"`git checkout {store}` brings back what is here"
        )
    problems = verify_store(store, deep=True)
    if not problems:
        tell(f"{store}: good, nothing to mend")
        return []
    if extra := [problem.path for problem in problems if problem.kind == "ExtraFileError"]:
        names = ", ".join(shown(path) for path in extra[:5])
        raise ValueError(f"{store}: move or delete what does not belong to it first: {names}")
    cache = cache_folder()
    for _ in range(_ROUNDS):
        for path in drop(store, problems, cache):
            tell(f"dropped {path}")
        before = problems
        problems = fetch(store)
        if not problems:
            tell(f"{store}: good")
            break
        if {problem.path for problem in before} == {problem.path for problem in problems}:
            break
    return problems


def to_compute(store: Path, problems: Iterable[Problem]) -> str:
    """The command that computes anew what cannot be fetched."""
    # Of a stage whose result is as DVC knows it, only --force makes DVC run it again, and without
    # --single-item that would train the teacher anew.
    missing = all(problem.kind in MISSING for problem in problems)
    options = "" if missing else "--force --single-item "
    return f"dvc repro {options}dump@{store.name.removesuffix('.zarr')}"


def drop(store: Path, problems: Iterable[Problem], cache: Path) -> Iterator[Path]:
    """Delete damaged files and the cached copies that are damaged alike; gives what was deleted."""
    damaged = [store / problem.path for problem in problems if problem.kind in DAMAGED]
    contents: dict[int, set[str]] = {}
    for path in damaged:
        if path.is_file():
            contents.setdefault(path.stat().st_size, set()).add(md5_of(path))
    for path in sorted(cache.glob("files/md5/??/*")) if contents else []:
        known = contents.get(path.stat().st_size, ())
        # A cached file is named after its content: one that is not is damaged.
        if known and path.parent.name + path.name != (digest := md5_of(path)) and digest in known:
            path.unlink()
            yield path
    for path in damaged:
        if path.is_file() or path.is_symlink():
            path.unlink()
            yield path


def fetch(store: Path) -> list[Problem]:
    """Bring back what is missing from DVC's cache, or its remote; returns what is wrong afterwards."""
    problems: list[Problem] = []
    for command in ("checkout", "pull"):
        with kept_aside(store):
            run_dvc(command, "--force", str(store))
        problems = verify_store(store, deep=True)
        if not any(problem.kind in MISSING for problem in problems):
            break
    return problems


@contextlib.contextmanager
def kept_aside(store: Path) -> Iterator[None]:
    """Put back afterwards what is gone: DVC deletes a folder whose list of files it cannot find."""
    aside = store.parent / f".mending-{store.name}"
    put_back(aside, store)  # of a run that was killed
    link_missing(store, aside)
    try:
        yield
    finally:
        put_back(aside, store)


def put_back(aside: Path, store: Path) -> None:
    """Give the store the files that it lacks, and delete the folder that they were kept in.

    Not those that a group does not list, which DVC may have brought in another version.
    """
    if not aside.exists():
        return
    listed = {}
    for group in GROUPS:
        with contextlib.suppress(StoreError):
            listed[group] = read_manifest(store, group).files

    def belongs(inside: PurePath) -> bool:
        group = inside.parts[0]
        return group not in listed or inside.relative_to(group).as_posix() in listed[group]

    link_missing(aside, store, belongs)
    shutil.rmtree(aside)


def link_missing(
    source: Path, target: Path, wanted: Callable[[PurePath], bool] = lambda inside: True
) -> None:
    """Link the wanted files of a folder that are not there into another; links as they are."""
    for path in source.rglob("*"):
        inside = path.relative_to(source)
        other = target / inside
        if (path.is_symlink() or path.is_file()) and wanted(inside) and not os.path.lexists(other):
            other.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, other, follow_symlinks=False)
