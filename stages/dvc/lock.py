"""Which stages are done, as dvc.lock tells it: quick, also for a profile that is not in use.

`dvc status` gives the exact answer, in several times the time, for params.yaml alone and not while
another DVC command runs. Here the recorded parameters, code and inputs of a stage are compared with
the present ones; results on disk are taken to be what was recorded.
"""

import configparser
import contextlib
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pipeline.core.files import STORES, VERSIONS
from pipeline.store.format.address import PINNED
from stages.shared.kept_yaml import load_kept

State = Literal["done", "elsewhere", "changed", "to do"]
STATES: dict[State, str] = {
    "done": "done",
    "elsewhere": "done, not on this disk (`decant repro` brings it)",
    "changed": "done with other parameters, code or inputs",
    "to do": "never done",
}
DONE: tuple[State, ...] = ("done", "elsewhere")
# Stages whose result never changes: that they have to run again says nothing of their readers.
CONSTANT = ("check",)
# Folders that `evaluate` depends on: they hold a result for each entry of the section of that name.
NETWORKS = ("data/teachers", "data/baselines", "data/students")


class Lock:
    """What a dvc.lock says of the stages of a parameter file.

    Args:
        root: the project's folder.
        params: the whole parameter file that stages are to be done for.
    """

    def __init__(self, root: Path, params: Mapping[str, Any]) -> None:
        self.root, self.params = root, params
        self.objects = cache_of(root) / "files" / "md5"
        path = root / "dvc.lock"
        stages = (load_kept(path).get("stages") or {}) if path.is_file() else {}
        if not isinstance(stages, dict) or not all(isinstance(s, dict) for s in stages.values()):
            raise ValueError(f"{path}: damaged; bring it back (`git checkout dvc.lock`)")
        self.stages: dict[str, Any] = stages
        self._outs = {
            out["path"]: (name, out)
            for name, stage in self.stages.items()
            for out in stage.get("outs") or ()
        }
        self._states: dict[str, State] = {}
        self._unchanged: dict[tuple[str, str], bool] = {}  # stages share most of their inputs

    @property
    def outs(self) -> dict[str, str]:
        """The digest of each result, by its path."""
        return {path: str(out["md5"]) for path, (_, out) in self._outs.items()}

    def maker(self, path: str) -> str | None:
        """The stage that makes a path, or the folder that it lies in."""
        place = PurePosixPath(path)
        made = (self._outs.get(str(parent)) for parent in (place, *place.parents))
        return next((result[0] for result in made if result is not None), None)

    def state(self, name: str) -> State:
        """Whether a stage is done."""
        if name not in self._states:
            self._states[name] = self._find_state(name)
        return self._states[name]

    def _find_state(self, name: str) -> State:
        stage = self.stages.get(name)
        if stage is None:
            return "to do"
        recorded = (stage.get("params") or {}).get("params.yaml") or {}
        if any(lookup(self.params, key) != value for key, value in recorded.items()):
            return "changed"
        if not all(self.is_unchanged(dep) for dep in stage.get("deps") or ()):
            return "changed"
        outs = [self.root / out["path"] for out in stage.get("outs") or ()]
        return "done" if all(out.exists() for out in outs) else "elsewhere"

    def is_unchanged(self, dep: Mapping[str, Any]) -> bool:
        """Whether an input is the recorded one: what git has by its bytes, results by what made them."""
        key = str(dep["path"]), str(dep["md5"])
        if key not in self._unchanged:
            self._unchanged[key] = self._find_unchanged(dep)
        return self._unchanged[key]

    def _find_unchanged(self, dep: Mapping[str, Any]) -> bool:
        path = PurePosixPath(dep["path"])
        if path.is_relative_to(VERSIONS) or self._is_pinned(path):
            return digest_of(self.root / path) == str(dep["md5"])
        for parent in (path, *path.parents):
            if str(parent) in self._outs:
                stage, out = self._outs[str(parent)]
                inside = path.relative_to(parent).parts
                present = digest_inside(self.objects, out["md5"], inside)
                same = present is None or present == dep["md5"]
                return same and (stage in CONSTANT or self.state(stage) in DONE)
        if str(path) in NETWORKS:
            return self._all_unchanged(path, str(dep["md5"]))
        return digest_of(self.root / path) == str(dep["md5"])

    def _is_pinned(self, path: PurePosixPath) -> bool:
        """Whether a path is of a store that is read in place; an old dump of that name is no matter."""
        names = self.params.get(PINNED) or {}
        return any(path.is_relative_to(STORES / f"{name}.zarr") for name in names)

    def _all_unchanged(self, folder: PurePosixPath, digest: str) -> bool:
        """Whether a folder of results, one for each entry of its section, is the recorded one."""
        names = self.params.get(folder.name) or {}
        made = {name: self._outs.get(str(folder / name)) for name in names}
        files: dict[str, str] = {}
        can_tell = True  # where the cache has every listing
        for name, result in made.items():
            if result is None or self.state(result[0]) not in DONE:
                return False
            inside = listing_of(self.objects, result[1]["md5"])
            can_tell &= inside is not None
            files |= {"/".join((name, *parts)): md5 for parts, md5 in (inside or {}).items()}
        return not can_tell or folder_digest(files) == digest


def lookup(params: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted key; None where there is none."""
    value: Any = params
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def cache_of(root: Path) -> Path:
    """A project's cache, as its own configuration says: `dvc cache dir --local` may have moved it.

    What the user's configuration says of all projects is not read.
    """
    folder = root / ".dvc"
    config = configparser.ConfigParser(interpolation=None, strict=False)
    with contextlib.suppress(configparser.Error, UnicodeDecodeError):  # for DVC to tell of
        config.read([folder / "config", folder / "config.local"], encoding="utf-8")
    place = config.get("cache", "dir", fallback="cache").strip("\"'")
    return folder / Path(place).expanduser()


def digest_inside(objects: Path, digest: str, inside: tuple[str, ...]) -> str | None:
    """DVC's digest of a file or folder inside a result, from the result's own digest.

    None where that cannot be told, because the cache's folder of objects has no list of its files.
    """
    if not inside:
        return digest
    files = listing_of(objects, digest)
    if files is None:
        return None
    if inside in files:
        return str(files[inside])
    depth = len(inside)
    below = {parts[depth:]: md5 for parts, md5 in files.items() if parts[:depth] == inside}
    return folder_digest({"/".join(parts): md5 for parts, md5 in below.items()})


def listing_of(objects: Path, digest: str) -> dict[tuple[str, ...], str] | None:
    """Digests of the files in a result that is a folder; None where the cache has no list of them."""
    listing = objects / digest[:2] / digest[2:]
    if not listing.is_file():
        return None
    try:
        return {PurePosixPath(file["relpath"]).parts: file["md5"] for file in read_listing(listing)}
    except (ValueError, TypeError, KeyError, RecursionError):
        return None  # damaged, as if it were not there; DVC fetches it anew


@cache
def read_listing(path: Path) -> list[dict[str, str]]:
    """The files of a folder as DVC's cache lists them: `relpath` and `md5` of each."""
    listing: list[dict[str, str]] = json.loads(path.read_text(encoding="utf-8"))
    return listing


def folder_digest(files: Mapping[str, str]) -> str:
    """DVC's digest of a folder from those of its files, by their path inside it."""
    listing = [{"md5": md5, "relpath": name} for name, md5 in sorted(files.items())]
    return (
        hashlib.md5(json.dumps(listing).encode("utf-8"), usedforsecurity=False).hexdigest() + ".dir"
    )


@cache
def digest_of(path: Path) -> str | None:
    """DVC's digest of a file, or of a folder without its caches of compiled code; None if absent."""
    if path.is_file():
        return md5_of(path)
    if not path.is_dir():
        return None
    files = {
        file.relative_to(path).as_posix(): md5_of(file)
        for file in path.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    return folder_digest(files)


def md5_of(path: Path) -> str:
    """DVC's digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
