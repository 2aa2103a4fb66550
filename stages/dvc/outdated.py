"""What a clone has in an older version than its commit, or in part; `dvc repro` would take it for right."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.core.files import PREPARED, STORES, VERSIONS
from pipeline.store.format.check import read_manifest
from pipeline.store.format.errors import StoreError
from pipeline.store.format.version import partial_error, version_error
from stages.dvc.lock import Lock
from stages.dvc.upstream import is_pinned
from stages.shared.stage_names import kind_of


def outdated(lock: Lock, lacks: Mapping[Path, str], targets: Sequence[str]) -> list[str]:
    """What is on this disk in an older version or in part, and is read when the targets are made.

    Paths and stages, as `dvc pull` takes them.

    Args:
        lacks: what `lacking` found.
        targets: stages; none: all.
    """
    paths = [str(PREPARED)] if PREPARED in lacks and PREPARED.exists() else []
    outs = (Path(out["path"]) for stage in lock.stages.values() for out in stage.get("outs") or ())
    cached = set(outs) - lacks.keys()
    students = lock.params.get("students") or {}
    for name, entry in students.items():
        store = entry.get("store") if isinstance(entry, dict) else None
        stage = f"train_student@{name}"
        wanted = not targets or {"train_student", "evaluate", stage} & set(targets)
        # Also for students that are done: DVC would take what is here for a change, and train again.
        if not (wanted and isinstance(store, str)) or is_pinned(lock.params, store):
            continue
        whole = STORES / store.partition("/")[0]
        if whole in cached and partial_error(whole, VERSIONS / whole.name):
            paths.append(str(whole))  # DVC takes a part for a change where its cache has the rest
        elif _is_outdated(store):
            paths.append(str(STORES / store))
    # A teacher always: from an old one here, DVC would dump again.
    paths += [
        name
        for path, name in lacks.items()
        if name.startswith(("train_", "evaluate"))
        and (
            name.startswith("train_teacher@")
            or not targets
            or "evaluate" in targets
            or {name, kind_of(name)} & set(targets)
        )
        and path.exists()
        and lock.state(name) == "done"
    ]
    return list(dict.fromkeys(paths))


def _is_outdated(name: str) -> bool:
    """Whether a store, or one group of it, is on this disk in part or in another version."""
    root, _, group = name.partition("/")
    folder, versions = STORES / root, VERSIONS / root
    if not (folder / group).exists():
        return False
    groups = [group] if group else [path.name for path in folder.iterdir() if path.is_dir()]
    if not group and partial_error(folder, versions):
        return True
    try:
        manifests = [read_manifest(folder, name) for name in groups]
    except StoreError:
        return False  # damaged: the student's stage tells it
    return any(version_error(folder, manifest, versions) for manifest in manifests)
