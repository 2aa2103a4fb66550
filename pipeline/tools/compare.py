"""How two stores differ: in what their manifests state, in their plans, and in their logits."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.store.format.check import present_groups
from pipeline.store.format.layout import GROUPS, SPLITS
from pipeline.store.format.manifest import Manifest, header_facts
from pipeline.store.read import CleanGroup, Store, ViewGroup, open_store
from pipeline.store.write.difference import Difference, measure, merge
from pipeline.tools.pin import pin_of
from pipeline.views.params import CLEAN

Facts = dict[str, Any]
Arrays = dict[str, NDArray[Any]]


def compare_stores(first: Path, second: Path, *, views: int | None = None) -> Facts:
    """What differs between two stores, ready for JSON.

    `groups` holds for each group of either store: `in` (which have it: first, second or both);
    `facts`, those of the manifests that differ, as name -> [first, second]; `plan`, of how many of
    the views that both have the plan is the same; and `logits`, how those of `second` differ from
    those of `first` (see `Difference`; `rows` is the number compared), or None where they are not
    of the same images. At most `views` views, evenly spread, are compared; None: all.
    `same` tells whether nothing differs.

    Raises StoreError where a store cannot be read.
    """
    stores = open_all(first), open_all(second)
    groups = {
        name: _compare_group(name, *stores, views)
        for name in GROUPS
        if any(name in store.groups for store in stores)
    }
    same = all(group["in"] == "both" and not group["facts"] for group in groups.values())
    return {"first": str(first), "second": str(second), "same": same, "groups": groups}


def open_all(path: Path, groups: Sequence[str] = ()) -> Store:
    """Open some groups of a store, or every one that is there; of a pinned one where it lies."""
    address, cache = pin_of(path)
    return open_store(path, groups=groups or present_groups(path), address=address, cache=cache)


def _compare_group(name: str, first: Store, second: Store, views: int | None) -> Facts:
    if name not in first.groups or name not in second.groups:
        return {"in": "first" if name in first.groups else "second", "facts": {}}
    if name == CLEAN:
        clean = first.clean, second.clean
        facts = different(*(manifest_facts(group.manifest) for group in clean))
        return {"in": "both", "facts": facts, "logits": _clean_difference(*clean)}
    groups = first.group(name), second.group(name)
    both = min(group.views for group in groups)
    alike = _same_plans(*groups, both) if _same_images(*groups) else []
    chosen = _spread(alike, views)
    return {
        "in": "both",
        "facts": different(*(manifest_facts(group.manifest) for group in groups)),
        "plan": {"views": both, "same": len(alike)},
        "logits": _facts(measure(groups[0].logits(v), groups[1].logits(v)) for v in chosen),
    }


def manifest_facts(manifest: Manifest) -> Facts:
    """What a manifest states of a group, flat: its header, size and digests, not its files."""
    facts = {
        **header_facts(manifest.header),
        "views": manifest.views,
        "feature_dim": manifest.feature_dim,
        "measured_error": dict(manifest.measured_error),
        "plan_sha256": manifest.plan_sha256,
    }
    values = {name: facts.sha256 for name, facts in manifest.files.items()}
    return {**flat(facts), "files": values}


def different(first: Facts, second: Facts) -> dict[str, list[Any]]:
    """The facts that are not the same: name -> [first, second], None where one lacks it."""
    facts = {
        name: [first.get(name), second.get(name)]
        for name in sorted(first.keys() | second.keys())
        if name != "files" and first.get(name) != second.get(name)
    }
    if not facts and (names := _changed_files(first["files"], second["files"])):
        # Only the numbers differ: what the teacher says, or how it was stored.
        facts["files"] = [f"{names[0]} and {len(names) - 1} more", "other bytes"]
    return facts


def _changed_files(first: Mapping[str, str], second: Mapping[str, str]) -> list[str]:
    return sorted(
        name for name in first.keys() | second.keys() if first.get(name) != second.get(name)
    )


def flat(facts: Mapping[str, Any], prefix: str = "") -> Facts:
    """Nested mappings as one, its keys joined with dots."""
    result: Facts = {}
    for key, value in facts.items():
        if isinstance(value, Mapping):
            result |= flat(value, f"{prefix}{key}.")
        else:
            result[prefix + key] = value
    return result


def _same_images(first: ViewGroup | CleanGroup, second: ViewGroup | CleanGroup) -> bool:
    data = [group.manifest.header.dataset for group in (first, second)]
    facts = [(d.fingerprint, d.classes, d.train_images, d.test_images) for d in data]
    return facts[0] == facts[1]  # sizes too: a manifest may lie


def _same_plans(first: ViewGroup, second: ViewGroup, views: int) -> list[int]:
    recipes = [group.manifest.header.recipe for group in (first, second)]
    assert recipes[0] is not None
    assert recipes[1] is not None
    if recipes[0].pad != recipes[1].pad:
        return []
    pairs = zip(first.plans(range(views)), second.plans(range(views)), strict=True)
    return [v for v, pair in enumerate(pairs) if _same(*(view.arrays() for view in pair))]


def _same(first: Arrays, second: Arrays) -> bool:
    return all(np.array_equal(array, second[name]) for name, array in first.items())


def _clean_difference(first: CleanGroup, second: CleanGroup) -> Facts | None:
    if not _same_images(first, second):
        return None
    return _facts(measure(first.logits(split), second.logits(split)) for split in SPLITS)


def _facts(differences: Iterable[Difference]) -> Facts | None:
    parts = list(differences)
    if not parts:
        return None
    whole = merge(parts)
    return {"rows": whole.rows, **whole.facts()}


def _spread(numbers: list[int], count: int | None) -> list[int]:
    if count is None or count >= len(numbers):
        return numbers
    return [numbers[index * len(numbers) // count] for index in range(count)]
