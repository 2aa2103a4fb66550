"""Whether the raw images are still those that the prepared data set was made from.

DVC does not know a folder of images outside the project, and must not: a clone may lack it. So
`prepare` notes the files that it took (name, size, time) on this machine, in a file that belongs to
what it made of them; no byte of the prepared data set depends on it.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.core.dataset import DatasetError
from pipeline.core.dataset_params import DatasetParams
from pipeline.core.files import PREPARED, durable_write
from pipeline.core.machine import load_machine
from pipeline.core.params import section
from pipeline.raw.imagefolder import ImageFolder, find_images

NOTES = Path("data/raw_files")  # left out of git, as all of data/
_MOST_NAMED = 3
Files = dict[str, list[int]]  # path below the root -> size in bytes, time of change in nanoseconds


def raw_files(folder: ImageFolder, root: Path) -> Files:
    """The image files that `prepare` takes, as they are now."""
    listings = [folder.train] if folder.test is None else [folder.train, folder.test]
    files = {}
    for path in (path for listing in listings for path in listing.paths):
        facts = path.stat() if path.exists() else path.lstat()  # a link to nothing
        files[path.relative_to(root).as_posix()] = [facts.st_size, facts.st_mtime_ns]
    return files


def note_raw_files(files: Files, params: DatasetParams, prepared: Path) -> None:
    """Note what a prepared data set was made from."""
    content = {"dataset": _facts(params), "files": files}
    durable_write(_note_of(prepared), json.dumps(content).encode("ascii"))


def latest_changes(files: Files) -> str:
    """How the files differ from those of the last `prepare` on this machine; empty: not at all."""
    notes = sorted(NOTES.glob("*.json"), key=lambda note: note.stat().st_mtime_ns)
    before = _read(notes[-1]) if notes else None
    return differences(before["files"], files) if before else ""


def raw_changes(content: dict[str, Any], arguments: Sequence[str]) -> str:
    """What changed in the raw images since data/prepared was made here, and what takes it in.

    Empty where nothing did, where the raw images are not on this machine, or where data/prepared was
    made on another.

    Args:
        content: the whole parameter file.
        arguments: of the command that goes on, which may be the one that takes them in.
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
        changed = f"they cannot be taken as they are now: {error}"
    return changed and (
        f"The images in {root} are no longer those of {PREPARED}, and DVC cannot see that: {changed}. "
        "`decant repro --force prepare` takes them in, and `decant repro` then does the rest."
    )


def differences(before: Files, now: Files) -> str:
    """What is new, removed and changed, with the first names of each; empty where nothing is."""
    kinds = {
        "new": sorted(now.keys() - before.keys()),
        "removed": sorted(before.keys() - now.keys()),
        "of another size or time": sorted(
            name for name in now.keys() & before.keys() if now[name] != before[name]
        ),
    }
    return "; ".join(
        f"{len(names):,} {kind} ({_first(names)})" for kind, names in kinds.items() if names
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
    """A note; None where there is none, or none that can be read: nothing is known then."""
    try:
        content = json.loads(note.read_text(encoding="ascii"))
        return {"dataset": dict(content["dataset"]), "files": dict(content["files"])}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
