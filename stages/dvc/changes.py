"""Why a stage is stale: keys of params.yaml, code, inputs and results that are not as dvc.lock has them."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.dvc.lock import DONE, NETWORKS, Lock, digest_of, lookup
from stages.shared.stage_names import SECTIONS, entries


@dataclass(frozen=True)
class Change:
    """One difference between dvc.lock and what is here.

    Args:
        what: a key of params.yaml, or a path.
        before: what dvc.lock has of it; None: nothing.
        now: what is here; None: nothing.
        newer: of a folder of code, the files that were written after dvc.lock.
        stages: of an input that stages make, those that are not done themselves.
        is_part: of a result, whether files are absent and it is smaller: pulled in part, say.
    """

    what: str
    before: Any
    now: Any
    newer: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    is_part: bool = False


def changes_of(lock: Lock, stage: str, *, deep: bool = False) -> list[Change]:
    """The changes of a stage that dvc.lock has; none where it is done, or was never.

    Results are compared by number and size of their files, or byte by byte (`deep`).
    """
    recorded = lock.stages.get(stage)
    if recorded is None:
        return []
    changes = list(_changed_results(lock, recorded, deep))
    if lock.state(stage) not in DONE:
        changes = [*_changed_params(lock, recorded), *_changed_inputs(lock, recorded), *changes]
    return changes


def _changed_params(lock: Lock, recorded: Mapping[str, Any]) -> Iterator[Change]:
    params = (recorded.get("params") or {}).get("params.yaml") or {}
    for key, before in params.items():
        yield from differences(key, before, lookup(lock.params, key))


def differences(key: str, before: Any, now: Any) -> Iterator[Change]:
    """The values below a key that differ, each with its whole key."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for name in dict.fromkeys((*before, *now)):
            yield from differences(f"{key}.{name}", before.get(name), now.get(name))
    elif before != now:
        yield Change(key, before, now)


def _changed_inputs(lock: Lock, recorded: Mapping[str, Any]) -> Iterator[Change]:
    for dep in recorded.get("deps") or ():
        if lock.is_unchanged(dep):
            continue
        path, before = str(dep["path"]), str(dep["md5"])
        makers = makers_of(lock, path)
        if undone := tuple(name for name in makers if lock.state(name) not in DONE):
            yield Change(path, before, None, stages=undone)
        elif makers:
            yield Change(path, before, lock.outs.get(path, "another version"))
        else:
            now = digest_of(lock.root / path)
            yield Change(path, before, now, newer_files(lock.root, path))


def makers_of(lock: Lock, path: str) -> list[str]:
    """The stages that make a path, or all that lies in it; none of code."""
    if path in NETWORKS:
        section = path.rpartition("/")[2]
        return [f"{SECTIONS[section]}@{name}" for name in entries(lock.params, section)]
    maker = lock.maker(path)
    return [] if maker is None else [maker]


def newer_files(root: Path, path: str) -> tuple[str, ...]:
    """Files of a file or folder that were written after dvc.lock; a hint, since git sets times, too."""
    since = (root / "dvc.lock").stat().st_mtime_ns
    place = root / path
    files = sorted(place.rglob("*")) if place.is_dir() else [place]
    return tuple(
        file.relative_to(root).as_posix()
        for file in files
        if file.is_file() and "__pycache__" not in file.parts and file.stat().st_mtime_ns > since
    )


def _changed_results(lock: Lock, recorded: Mapping[str, Any], deep: bool) -> Iterator[Change]:
    for out in recorded.get("outs") or ():
        path = lock.root / out["path"]
        if not path.exists():
            continue
        (files, size), (files_then, size_then) = measure(path), recorded_size(out)
        is_part = files < files_then and size < size_then
        if is_part or (not deep and (files, size) != (files_then, size_then)):
            before, now = size_text(files_then, size_then), size_text(files, size)
            yield Change(str(out["path"]), before, now, is_part=is_part)
        elif deep and (digest := digest_of(path)) != out["md5"]:
            yield Change(str(out["path"]), str(out["md5"]), digest)


def measure(path: Path) -> tuple[int, int]:
    """Number of files, and their bytes, of a file or folder; links to what is gone do not count."""
    sizes = []
    for folder, _, names in (
        os.walk(path) if path.is_dir() else [(str(path.parent), [], [path.name])]
    ):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                sizes.append(os.stat(os.path.join(folder, name)).st_size)
    return len(sizes), sum(sizes)


def recorded_size(out: Mapping[str, Any]) -> tuple[int, int]:
    """Number of files, and their bytes, that dvc.lock has of a result."""
    return int(out.get("nfiles") or 1), int(out.get("size") or 0)


def size_text(files: int, size: int) -> str:
    """Number and bytes of files in words."""
    return f"{files:,} {'file' if files == 1 else 'files'}, {size:,} bytes"
