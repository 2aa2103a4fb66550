"""The text of a manifest: canonical JSON with a digest of its own, and its strict parsing.

A manifest may come from anyone. Every type and limit is checked (pydantic, strict), and that the files it
lists are exactly those of the layout that it claims, so that no name or size is ever taken from it.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from operator import itemgetter
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pipeline.core.files import canonical_json
from pipeline.store.format.address import Place
from pipeline.store.format.errors import LimitError, ManifestError, SchemaError
from pipeline.store.format.layout import MANIFEST, SCHEMA, ArraySpec, group_arrays, metadata_files
from pipeline.store.format.manifest import (
    DatasetInfo,
    FileFacts,
    Header,
    Manifest,
    group_shape,
    header_facts,
    problems_text,
)
from pipeline.views.params import CLEAN

MAX_MANIFEST_BYTES = 2**22
MAX_ARRAY_BYTES = 2**34  # of one view, or of an array without views
_MANIFEST = TypeAdapter(Manifest)
# An array of more than this is not compressed to less than a 1000th, unless somebody means harm:
# what is small may be, such as features that are zero everywhere.
SMALL_BYTES = 2**28
MAX_RATIO = 1000
_MAX_TOP_RATIO = 10_000  # the largest logit of 20,000 classes is that much smaller than all


def plan_digest(arrays: Mapping[str, ArraySpec], files: Mapping[str, FileFacts]) -> str | None:
    """sha256 over the digests of the plan's files; None in a group without a plan."""
    plan = {
        path: files[path].sha256
        for spec in arrays.values()
        if spec.role == "plan"
        for path in map(spec.file, spec.indices())
    }
    return hashlib.sha256(canonical_json(plan)).hexdigest() if plan else None


def write_manifest(
    header: Header,
    *,
    views: int,
    feature_dim: int | None,
    measured_error: Mapping[str, float],
    files: Mapping[str, FileFacts],
) -> bytes:
    """The manifest of a finished group as canonical JSON."""
    arrays = group_arrays(group_shape(header, views, feature_dim))
    content = {
        "schema": SCHEMA,
        "header": header_facts(header),
        "views": views,
        "feature_dim": feature_dim,
        "plan_sha256": plan_digest(arrays, files),
        "measured_error": dict(measured_error),
        "files": {path: asdict(facts) for path, facts in files.items()},
    }
    return canonical_json({**content, "digest": _digest(content)})


def parse_manifest(raw: bytes, store: Place, group: str) -> Manifest:
    """Check a group's manifest and return it.

    Raises SchemaError for a schema other than ours, ManifestError for damage, contradictions and
    anything malformed, LimitError for sizes that no store has.
    """
    path = f"{group}/{MANIFEST}"
    content = _parse_json(raw, store, path)
    if content.get("schema") != SCHEMA:
        found = repr(content.get("schema"))[:40]
        raise SchemaError(store, path, f"schema {found}, but this version reads {SCHEMA}")
    rest = {key: value for key, value in content.items() if key != "digest"}
    try:
        canonical = canonical_json(content) == raw
        digest = _digest(rest)
    except (ValueError, RecursionError) as error:
        raise ManifestError(store, path, f"not canonical JSON ({error})") from error
    if not canonical or content.get("digest") != digest:
        raise ManifestError(store, path, "has been changed or damaged: its digest does not match")
    try:
        manifest = _MANIFEST.validate_json(raw, strict=True)
    except ValidationError as error:
        raise ManifestError(store, path, f"malformed: {problems_text(error)}") from None
    if manifest.group != group:
        raise ManifestError(store, path, f"belongs to the group {manifest.group}")
    _check_limits(manifest, store, path)
    _check_files(manifest, store, path)
    _check_ratios(manifest, store, path)
    return manifest


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json(content)).hexdigest()


def _parse_json(raw: bytes, store: Place, path: str) -> dict[str, Any]:
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ManifestError(store, path, f"not JSON ({str(error)[:200]})") from error
    if not isinstance(content, dict):
        raise ManifestError(store, path, "not a JSON object")
    return content


def _check_limits(manifest: Manifest, store: Place, path: str) -> None:
    if (manifest.views == 0) != (manifest.group == CLEAN):
        raise ManifestError(store, path, f"{manifest.views} views in the group {manifest.group}")
    problem = size_problem(group_arrays(manifest.shape), manifest.header.dataset)
    if problem is not None:
        raise LimitError(store, path, problem)


def size_problem(arrays: Mapping[str, ArraySpec], dataset: DatasetInfo) -> str | None:
    """Which array of a group is larger than one that is read; None where none is."""
    rows = max(dataset.train_images, dataset.test_images)
    sizes = [("logits", 2 * rows * dataset.classes)]  # more than is stored, in topk
    sizes += [(s.path, math.prod(s.shape[s.lead :]) * s.dtype.itemsize) for s in arrays.values()]
    name, size = max(sizes, key=itemgetter(1))
    if size <= MAX_ARRAY_BYTES:
        return None
    return f"{name} takes {size:,} bytes a view, at most {MAX_ARRAY_BYTES:,} are read"


def _check_ratios(manifest: Manifest, store: Place, path: str) -> None:
    """Little files claim no gigabytes: what a view takes is allocated when it is read."""
    dataset = manifest.header.dataset
    stored: dict[str, int] = {}
    for spec in group_arrays(manifest.shape).values():
        name = spec.path
        stored[name] = sum(manifest.files[file].size for file in map(spec.file, spec.indices()))
        size = math.prod(spec.shape) * spec.dtype.itemsize
        _check_ratio(name, size, stored[name], MAX_RATIO, store, path)
    if manifest.header.codec.top_k is not None:
        rows = manifest.views * dataset.train_images or dataset.train_images + dataset.test_images
        kept = sum(size for name, size in stored.items() if name.endswith("logits"))
        _check_ratio("logits", 2 * rows * dataset.classes, kept, _MAX_TOP_RATIO, store, path)


def _check_ratio(name: str, size: int, stored: int, ratio: int, store: Place, path: str) -> None:
    if size > SMALL_BYTES and size > ratio * stored:
        what = f"{name} holds {size:,} bytes of numbers out of {stored:,} bytes of files"
        raise LimitError(store, path, what)


def _check_files(manifest: Manifest, store: Place, path: str) -> None:
    """The files that are listed are those of the layout, with sizes that it allows."""
    arrays = group_arrays(manifest.shape)
    metadata = metadata_files(manifest.group, arrays)
    # Counted before they are named: a manifest can claim far more files than it lists.
    expected = len(metadata) + sum(math.prod(spec.grid) for spec in arrays.values())
    if expected != len(manifest.files):
        what = f"lists {len(manifest.files)} files, but {expected} belong to a group of its shape"
        raise ManifestError(store, path, what)
    for name, data in metadata.items():
        facts = manifest.files.get(name)
        wanted = FileFacts(size=len(data), sha256=hashlib.sha256(data).hexdigest(), crc32c=None)
        if facts != wanted:
            raise ManifestError(store, path, f"{name} is not the metadata of a group of its shape")
    for spec in arrays.values():
        for name in map(spec.file, spec.indices()):
            facts = manifest.files.get(name)
            if facts is None or facts.crc32c is None:
                raise ManifestError(store, path, f"does not list {name} and its CRC")
            if problem := spec.codec.size_problem(facts.size, spec.chunk_bytes):
                raise ManifestError(store, path, f"{name}: {problem}")
    if manifest.plan_sha256 != plan_digest(arrays, manifest.files):
        raise ManifestError(store, path, "the plan's digest is not that of its files")
