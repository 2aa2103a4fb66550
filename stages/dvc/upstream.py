"""What a clone lacks of the results that dvc.lock names, and where they may be had from.

A clone of a teammate's holds a part of the results; `dvc repro` alone would compute what is not there.
"""

from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from pipeline.core.files import in_git
from pipeline.store.format.address import PINNED
from stages.dvc.command import run_dvc
from stages.dvc.lock import Lock, cache_of, listing_of
from stages.shared.stage_names import entries, stage_names


def is_pinned(params: Mapping[str, Any], store: str) -> bool:
    """Whether a store, as a student names it (`T.zarr/plain`), is read in place: no stage makes it."""
    return store.partition("/")[0].removesuffix(".zarr") in entries(params, PINNED)


def lacking(lock: Lock) -> dict[Path, str]:
    """Results that dvc.lock names and DVC's cache on this machine lacks, with their stages."""
    named = {
        Path(out["path"]): (name, str(out["md5"]))
        for name in sorted(lock.stages.keys() & stage_names(lock.params))
        for out in lock.stages[name].get("outs") or ()
        if not in_git(Path(out["path"]))
    }
    held = in_caches({path: md5 for path, (_, md5) in named.items()})
    return {path: name for path, (name, _) in named.items() if path not in held}


def in_caches(results: Mapping[Path, str]) -> set[Path]:
    """Which of some results, by their digests, DVC's cache on this machine holds whole."""
    left = dict(results)
    for cache in (partial(cache_of, Path()), cache_folder):  # the second one starts DVC
        if not left:
            break
        objects = cache() / "files" / "md5"
        left = {path: md5 for path, md5 in left.items() if not is_whole(objects, md5)}
    return results.keys() - left.keys()


def is_whole(objects: Path, md5: str) -> bool:
    """Whether a cache's folder of objects has a result, with all files of a folder."""
    if not md5.endswith(".dir"):
        return (objects / md5[:2] / md5[2:]).is_file()
    files = listing_of(objects, md5)
    return files is not None and all(
        (objects / digest[:2] / digest[2:]).exists() for digest in files.values()
    )


def has_remote() -> bool:
    """Whether the project has a default DVC remote. Starts DVC, the first time that it is asked."""
    return _has_remote(Path.cwd())


@lru_cache
def _has_remote(project: Path) -> bool:
    # An option that is not set is no failure to DVC: nothing is printed.
    return bool(run_dvc("config", "core.remote").stdout.strip())


def cache_folder() -> Path:
    """Where DVC keeps its cache. Starts DVC, the first time. Raises ValueError outside a DVC project."""
    return _cache_folder(Path.cwd())


@lru_cache
def _cache_folder(project: Path) -> Path:
    done = run_dvc("cache", "dir")
    if done.returncode:
        raise ValueError(
            "this is no DVC project, so there is nowhere to fetch files from: copy the store again "
            "from where it came"
        )
    return Path(done.stdout.strip())
