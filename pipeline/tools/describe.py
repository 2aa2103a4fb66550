"""What a store is, in facts that can be printed: read from its manifests and its files' sizes."""

import contextlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.core.errors import DecantError
from pipeline.core.files import VERSIONS
from pipeline.store.format.address import Place
from pipeline.store.format.check import presence_errors, present_groups, read_manifest, root_errors
from pipeline.store.format.errors import StaleStoreError, StoreError, as_pinned, mended_as
from pipeline.store.format.layout import MANIFEST, METADATA, group_arrays
from pipeline.store.format.manifest import Manifest, header_facts
from pipeline.store.format.version import version_error
from pipeline.tools.pin import is_project_store, pin_of
from pipeline.views.params import CLEAN, MIXED, PLAIN

Facts = dict[str, Any]
_SHOWN_ONCE = {"group", "dataset", "teacher"}  # of a whole store
_SHARES = {(PLAIN,): (0.0, 0.0), (MIXED,): (1.0, 1.0), (PLAIN, MIXED): (0.0, 1.0)}


def describe_store(folder: Path) -> Facts:
    """Facts of a store, ready for JSON.

    Keys: `store` and `name`; `address` of a pinned store, at which it is read (else None); `complete`
    (every group that is there is, as far as names and sizes tell) and `problems` (what is wrong, with
    the command that mends it); `shares` (the lowest and the highest mixup share that a student can have);
    `bytes` and `files` on disk, or at the address; `dataset` and `teacher`, of the first group;
    `teacher_mixup` (whether it was trained with mixup; None: not known); `groups` (see
    `describe_group`). Nothing is read but manifests.

    Raises StoreMissingError where there is no store.
    """
    if not folder.is_dir():
        with mended_as(pin_of(folder)[0]):
            raise next(root_errors(folder))
    return _describe(folder)


def _describe(folder: Path) -> Facts:
    problems: list[DecantError] = []
    address = None
    try:
        address, _ = pin_of(folder)
    except DecantError as error:  # of this store: others are described all the same
        problems.append(error)
    problems += root_errors(folder)
    manifests: dict[str, Manifest] = {}
    groups: Facts = {}
    for group in present_groups(folder):
        try:
            manifests[group] = manifest = read_manifest(folder, group)
        except StoreError as error:
            problems.append(error)
            groups[group] = {"complete": False}
            continue
        found = list(presence_errors(folder, manifest, pinned=address is not None))
        groups[group] = {"complete": not found, **describe_group(manifest)}
        groups[group]["bytes"] += (folder / group / MANIFEST).stat().st_size
        problems += found
    if address is not None:
        problems = [as_pinned(e, address) if isinstance(e, StoreError) else e for e in problems]
    headers = [manifest.header for manifest in manifests.values()]
    disagreements = sorted(
        name
        for name in ("dataset", "teacher")
        if any(getattr(header, name) != getattr(headers[0], name) for header in headers)
    )
    return {
        "store": str(folder),
        "name": folder.name.removesuffix(".zarr"),
        "address": address,
        "complete": not problems,
        "problems": [str(problem) for problem in problems],
        "groups_disagree_on": disagreements,
        "shares": _SHARES.get(tuple(group for group in manifests if group != CLEAN)),
        "bytes": sum(facts["bytes"] for facts in groups.values() if "bytes" in facts),
        "files": sum(facts["files"] for facts in groups.values() if "files" in facts)
        + (folder / METADATA).exists(),
        "dataset": asdict(headers[0].dataset) if headers else None,
        "teacher": header_facts(headers[0])["teacher"] if headers else None,
        "teacher_mixup": _mixup(headers[0].teacher.training) if headers else None,
        "groups": groups,
    }


def _mixup(training: Mapping[str, Any]) -> bool | None:
    return bool(training["mixup"]) if "mixup" in training else None


def describe_group(manifest: Manifest) -> Facts:
    """Facts of one group.

    What its header states (but the data set and the teacher's training); `views`, `rows` (images
    times views), `feature_dim`; `bytes` of its files but the manifest; `files`, with it; and
    `bytes_per_row` of `logits`, `features` and `plan`: their files' bytes by the number of rows.
    """
    header = manifest.header
    train, test = header.dataset.train_images, header.dataset.test_images
    rows = manifest.views * train if manifest.views else train + test
    sizes: dict[str, int] = {}
    for spec in group_arrays(manifest.shape).values():
        name = spec.path.rpartition("/")[2].partition("_")[0]
        kind = name if name in ("logits", "features", "labels") else "plan"
        size = sum(manifest.files[path].size for path in map(spec.file, spec.indices()))
        sizes[kind] = sizes.get(kind, 0) + size
    stated = {key: value for key, value in asdict(header).items() if key not in _SHOWN_ONCE}
    return {
        **stated,
        "views": manifest.views,
        "rows": rows,
        "feature_dim": manifest.feature_dim,
        "codec_name": str(header.codec),
        "measured_error": dict(manifest.measured_error),
        "teacher": header.teacher.name,
        "weights_sha256": header.teacher.weights_sha256,
        "fingerprint": header.dataset.fingerprint,
        "plan_sha256": manifest.plan_sha256,
        "digest": manifest.digest,
        "bytes": manifest.total_bytes,
        "files": len(manifest.files) + 1,
        "bytes_per_row": {kind: round(size / rows, 2) for kind, size in sizes.items()},
    }


def inspect_store(folder: Path) -> tuple[Facts, list[StaleStoreError]]:
    """The facts of `describe_store`, and what `stale_groups` says."""
    return describe_store(folder), stale_groups(folder)


def inspect_stores(folder: Path) -> list[tuple[Facts, list[StaleStoreError]]]:
    """The same of everything called NAME.zarr in a folder, by name; of what is no folder, problems."""
    paths = sorted(folder.glob("*.zarr"))
    return [(_describe(path), stale_groups(path)) for path in paths]


def stale_groups(store: Path) -> list[StaleStoreError]:
    """Groups of a store of the project that are of another version than the project's commit."""
    if not is_project_store(store):
        return []
    place: Place = store
    with contextlib.suppress(DecantError):  # `_describe` tells it
        place = pin_of(store)[0] or store
    stale: list[StaleStoreError] = []
    for group in present_groups(store):
        with contextlib.suppress(StoreError):
            if error := version_error(place, read_manifest(store, group), VERSIONS / store.name):
                stale.append(error)
    return stale
