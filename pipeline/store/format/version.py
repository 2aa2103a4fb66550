"""Which version of a store a project's commit belongs to: a small file a group, kept in git.

A store is too large for git and travels through DVC, by its own commands and at its own time, so the one
on a disk may be older than the commit: the teacher has changed upstream and nobody has pulled. DVC does
not tell a stage of that. These files do: git brings them with the commit, and they hold the digest of the
manifest, which covers every byte of the group.
"""

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline.core.files import canonical_json, durable_write
from pipeline.store.format.address import Place
from pipeline.store.format.check import read_manifest
from pipeline.store.format.errors import WHOLE, GroupMissingError, StaleStoreError
from pipeline.store.format.layout import GROUPS, METADATA
from pipeline.store.format.manifest import Manifest

_MAX_BYTES = 2**16


def version_text(manifest: Manifest) -> bytes:
    """The version of a group as canonical JSON: its manifest's digest, and what a reader wants to know."""
    teacher = manifest.header.teacher
    return canonical_json(
        {
            "manifest": manifest.digest,
            "dataset": manifest.header.dataset.fingerprint,
            "teacher": {
                "name": teacher.name,
                "network": teacher.network,
                "weights_sha256": teacher.weights_sha256,
                "top1_accuracy": teacher.top1_accuracy,
            },
            "views": manifest.views,
        }
    )


def write_versions(store: Path, groups: Iterable[str], folder: Path) -> None:
    """Write the version of each of a store's groups to a file of its name; other files go.

    Raises what `read_manifest` raises, and StorageError where the file system refuses.
    """
    texts = {group: version_text(read_manifest(store, group)) for group in groups}
    for group, text in texts.items():
        durable_write(folder / group, text)
    for name in set(os.listdir(folder)) - texts.keys():
        (folder / name).unlink()


def version_error(store: Place, manifest: Manifest, folder: Path) -> StaleStoreError | None:
    """Why a store's group is not the one of this commit; None where it is, or where nothing is known.

    `folder` holds the versions of the store's groups.
    """
    path = folder / manifest.group
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES)
    except FileNotFoundError:
        return None
    if text == version_text(manifest):
        return None
    return StaleStoreError(store, manifest.group, _difference(text, manifest, path))


def partial_error(store: Path, folder: Path) -> GroupMissingError | None:
    """Which group of a store that is on this disk in part is missing; None where all are there.

    A student of several groups depends on the whole folder, as far as DVC is concerned.
    """
    wanted = [group for group in GROUPS if (folder / group).is_file()]
    for group in (*wanted, METADATA) if wanted and store.is_dir() else ():
        if not (store / group).exists():
            return GroupMissingError(store, "", f"was pulled in part, without {group}", WHOLE)
    return None


def _difference(text: bytes, manifest: Manifest, path: Path) -> str:
    """What is different, of what users know: data set, teacher, views; else that something is."""
    wanted: Mapping[str, Any] = {}
    with contextlib.suppress(ValueError, RecursionError):
        parsed = json.loads(text)
        wanted = parsed if isinstance(parsed, dict) else {}
    if "manifest" not in wanted:
        return f"cannot be compared with {path}, which is damaged (`git checkout {path}`)"
    ours = json.loads(version_text(manifest))
    teachers = [facts.get("teacher") for facts in (ours, wanted)]
    weights = [str(one.get("weights_sha256")) if isinstance(one, dict) else "" for one in teachers]
    if ours["dataset"] != wanted.get("dataset"):
        what = "was made for another data set"
    elif weights[0] != weights[1]:
        what = (
            f"has logits of a teacher with weights {weights[0][:12]}..., not {weights[1][:12]}..."
        )
    elif ours["views"] != wanted.get("views"):
        what = f"has {ours['views']} views, not {str(wanted.get('views'))[:20]}"
    else:
        what = "was dumped in another way"
    return f"stale: it {what}; {path} names another version"
