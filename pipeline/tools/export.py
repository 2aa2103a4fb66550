"""Out of the format: a store's views as plain arrays, one file a view.

    clean.npz                        train_logits f2 [n, C], train_features f2 [n, D], train_labels
                                     i4 [n]; the same with test_
    plain-0000.npz mixed-0000.npz    logits f2 [N, C], features f2 [N, D] (where the store has them)
                                     and the view's plan: crop_yx u1 [N, 2], flip bool [N]; of mixed
                                     views also partner i4 [N], lam f4 [N], mix_rank i4 [N]

Each holds `facts` besides: JSON with the group's header, what its codec was measured to cost, the
number of the view and how many there are. Parquet files have a row for each image, its number in
the column `image`, and the same arrays as columns (logits and features as lists of float32), the
facts in their schema's metadata.
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import DecantError
from pipeline.core.files import TEMPORARY, canonical_json, durable_write
from pipeline.store.format.layout import SPLITS
from pipeline.store.format.manifest import Manifest, header_facts
from pipeline.store.read import CleanGroup, Store, ViewGroup
from pipeline.tools.compare import open_all
from pipeline.tools.npz import npz_bytes
from pipeline.views.params import CLEAN

FACTS = "facts"
FORMATS = ("npz", "parquet")
Arrays = dict[str, NDArray[Any]]


def export_store(store: Store, form: str, out: Path) -> list[Path]:
    """Write every opened group of a store into a folder, a file a view, as `npz` or `parquet`.

    Returns the files. Raises ValueError where pyarrow is not there, and what reading a store raises.
    """
    write = {"npz": _npz_files, "parquet": _parquet_files}[form]
    written: list[Path] = []
    for name in store.groups:
        for file, data in write(store.clean if name == CLEAN else store.group(name)):
            durable_write(out / file, data)
            written.append(out / file)
    return written


def facts_text(manifest: Manifest, view: int | None) -> str:
    """What an exported file says of itself: JSON."""
    facts = {
        "header": header_facts(manifest.header),
        "measured_error": dict(manifest.measured_error),
        "view": view,
        "views": manifest.views,
    }
    return canonical_json(facts).decode("ascii")


def view_arrays(group: ViewGroup, v: int) -> Arrays:
    """All arrays of one view: logits, features where the store has them, plan."""
    arrays: Arrays = {"logits": group.logits(v)}
    if group.feature_dim is not None:
        arrays["features"] = group.features(v)
    return arrays | group.plan(v).arrays()


def split_arrays(group: CleanGroup, split: str) -> Arrays:
    """All arrays of a split of the clean images: logits, features where there are some, labels."""
    arrays: Arrays = {"logits": group.logits(split)}
    if group.feature_dim is not None:
        arrays["features"] = group.features(split)
    return arrays | {"labels": group.labels(split)}


def _npz_files(group: ViewGroup | CleanGroup) -> Iterator[tuple[str, bytes]]:
    if isinstance(group, CleanGroup):
        arrays = {
            f"{split}_{name}": array
            for split in SPLITS
            for name, array in split_arrays(group, split).items()
        }
        facts = np.array(facts_text(group.manifest, None))
        yield "clean.npz", npz_bytes({**arrays, FACTS: facts})
        return
    for v in range(group.views):
        facts = np.array(facts_text(group.manifest, v))
        yield f"{group.name}-{v:04d}.npz", npz_bytes({**view_arrays(group, v), FACTS: facts})


def _parquet_files(group: ViewGroup | CleanGroup) -> Iterator[tuple[str, bytes]]:
    from pipeline.tools.parquet import parquet_bytes

    if isinstance(group, CleanGroup):
        facts = facts_text(group.manifest, None)
        for split in SPLITS:
            yield f"clean-{split}.parquet", parquet_bytes(split_arrays(group, split), facts)
        return
    for v in range(group.views):
        facts = facts_text(group.manifest, v)
        yield f"{group.name}-{v:04d}.parquet", parquet_bytes(view_arrays(group, v), facts)


def export_files(
    store: Path, form: str, out: Path, groups: Sequence[str] = ()
) -> tuple[list[str], list[Path]]:
    """Write groups of a store (none named: all that are there) as files of plain arrays.

    Returns the groups, and the files. Raises ValueError where `out` is not an empty or absent folder. What is
    there is a whole export: an interrupted one leaves nothing in its place.
    """
    out = out.resolve()  # a link to an empty folder stays, and is filled
    if out == Path.cwd() or (out.exists() and (not out.is_dir() or any(out.iterdir()))):
        raise DecantError(f"{out}: there is something already; name a new folder")
    opened = open_all(store, groups)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=out.parent) as folder:
        files = export_store(opened, form, Path(folder, out.name))
        Path(folder, out.name).replace(out)
    return list(opened.groups), [out / file.name for file in files]
