"""Detect changes of the raw images since the prepared data set was made from them.

DVC does not watch a folder of images outside the project, and must not: a clone may lack it. So `prepare`
writes a note of the files that it used (name, size, time) on this machine, in a file that is named after the
digest of the prepared data set. No byte of the prepared data set depends on it.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.core.dataset_facts import DatasetError
from pipeline.core.dataset_params import DatasetParams
from pipeline.core.files import PREPARED, durable_write
from pipeline.core.machine import load_machine
from pipeline.core.params import section
from pipeline.raw.imagefolder import ImageFolder, find_images

NOTES = Path("data/raw_files")  # not in git, like all of data/
_MOST_NAMED = 3
Files = dict[str, list[int]]  # path below the root -> size in bytes, time of change in nanoseconds


def raw_files(folder: ImageFolder, root: Path) -> Files:
    """The image files that `prepare` uses, as they are now."""
    listings = [folder.train] if folder.test is None else [folder.train, folder.test]
    files = {}
    for path in (path for listing in listings for path in listing.paths):
        status = path.stat() if path.exists() else path.lstat()  # a broken link
        files[path.relative_to(root).as_posix()] = [status.st_size, status.st_mtime_ns]
    return files


def note_raw_files(files: Files, params: DatasetParams, prepared: Path) -> None:
    """Write the note of the files that a prepared data set was made from."""
    content = {"dataset": _facts(params), "files": files}
    durable_write(_note_of(prepared), json.dumps(content).encode("ascii"))


def latest_changes(files: Files) -> str:
    """How the files differ from those of the last `prepare` on this machine; empty if they do not."""
    notes = sorted(NOTES.glob("*.json"), key=lambda note: note.stat().st_mtime_ns)
    before = _read(notes[-1]) if notes else None
    return differences(before["files"], files) if before else ""


def raw_changes(content: dict[str, Any], arguments: Sequence[str]) -> str:
    """What changed in the raw images since data/prepared was made, and the command that uses the changes.

    Empty if nothing changed, if the raw images are not on this machine, or if data/prepared was made on
    another machine.

    Args:
        content: the whole parameter file.
        arguments: of the present command, which may itself force `prepare`.
    """
    forced = {"-f", "--force"} & set(arguments)
    own_images = content.get("dataset", {}).get("name") == "imagefolder"
    if not own_images or (forced and "prepare" in arguments):
        return ""
    params = section(content, DatasetParams, "dataset")
    root = load_machine(content).raw
    before = _read(_note_of(PREPARED)) if (PREPARED / "dataset.json").is_file() else None
    if not root.is_dir() or before is None or before["dataset"] != _facts(params):
        return ""
    try:
        now = raw_files(find_images(root, params.test_fraction), root)
        changed = differences(before["files"], now)
    except (DatasetError, OSError) as error:
        changed = f"they cannot be used as they are now: {error}"
    return changed and (
        f"The images in {root} have changed since {PREPARED} was made, and DVC cannot see that: "
        f"{changed}. To use them, run `decant repro --force prepare`, then `decant repro`."
    )


def differences(before: Files, now: Files) -> str:
    """What is new, removed and changed, with the first names of each; empty if nothing is.

    >>> differences({"cat/1.png": [10, 0], "cat/2.png": [10, 0]}, {"cat/1.png": [11, 0]})
    '1 removed (cat/2.png); 1 of another size or time (cat/1.png)'
    """
    changes = {
        "new": sorted(now.keys() - before.keys()),
        "removed": sorted(before.keys() - now.keys()),
        "of another size or time": sorted(
            name for name in now.keys() & before.keys() if now[name] != before[name]
        ),
    }
    return "; ".join(
        f"{len(names):,} {change} ({_first(names)})" for change, names in changes.items() if names
    )


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST_NAMED]) + (", ..." if len(names) > _MOST_NAMED else "")


def _facts(params: DatasetParams) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(json.dumps(asdict(params)))
    return facts


def _note_of(prepared: Path) -> Path:
    digest = hashlib.sha256((prepared / "dataset.json").read_bytes()).hexdigest()
    return NOTES / f"{digest[:16]}.json"


def _read(note: Path) -> dict[str, Any] | None:
    """A note; None if it is missing or unreadable."""
    try:
        content = json.loads(note.read_text(encoding="ascii"))
        return {"dataset": dict(content["dataset"]), "files": dict(content["files"])}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
