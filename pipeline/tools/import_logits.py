"""npz files of logits that were computed elsewhere, with their plans, in; a store out."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.core.asked_dataset import load_dataset
from pipeline.core.dataset import ImageData
from pipeline.core.errors import DecantError
from pipeline.core.files import WorkFolder, work_key
from pipeline.store.format.address import PINNED
from pipeline.store.format.errors import StoreError
from pipeline.store.format.manifest import describe_dataset
from pipeline.tools.importing import (
    Given,
    Stated,
    check_labels,
    check_origin,
    import_group,
    in_order,
    look_at,
    make_header,
)
from pipeline.tools.pin import pin_of
from pipeline.tools.verify import verify_store
from pipeline.views.params import CLEAN, GroupName

_WORK = ".importing"


def import_store(
    paths: Sequence[Path],
    out: Path,
    prepared: Path,
    content: dict[str, Any] | None,
    stated: dict[str, Any],
) -> list[GroupName]:
    """Make a store of npz files, one a view; returns its groups.

    Args:
        out: the store, NAME.zarr, which is not there yet.
        prepared: folder of the prepared data set that the logits belong to, if it is there.
        content: the parameter file that it was made from, if there is one.
        stated: what the files do not say; see `Stated`.

    Raises ValueError where the files do not make a store.
    """
    if out.suffix != ".zarr":
        raise DecantError(f"{out}: the name of a store ends with .zarr")
    if out.exists():
        raise DecantError(
            f"{out}: there is something already; name a new store, or delete that one"
        )
    address, _ = pin_of(out)
    if address is not None:
        raise DecantError(
            f"{out}: this name is pinned to {address}; take another one, or delete {PINNED}.{out.stem} "
            "from params.yaml first"
        )
    there = (prepared / "dataset.json").exists()
    data = load_dataset(prepared, content) if there else None
    given = [look_at(path) for path in paths]
    groups = write(given, out, Stated(**stated), data)
    problems = verify_store(out, deep=True)
    assert not problems, problems
    return groups


def write(given: list[Given], out: Path, stated: Stated, data: ImageData | None) -> list[GroupName]:
    """Write and publish the store, of the prepared data set if there is one; returns its groups."""
    check_origin(given)
    prepared = None if data is None else describe_dataset(data)
    files: dict[str, Path] = {}
    groups: list[GroupName] = sorted({file.group for file in given})
    with WorkFolder(out.parent / _WORK, work_key({"store": out.name})) as work:
        try:
            for group in groups:
                members = in_order([file for file in given if file.group == group])
                if group == CLEAN and len(members) > 1:
                    raise DecantError(f"{members[1].path}: a second file of the clean images")
                header = make_header(members, stated, out.stem, prepared)
                if group == CLEAN and data is not None:
                    check_labels(members[0].path, data)
                files |= import_group(work.path / "store", members, header)
            work.publish(files, out)
        except (
            StoreError
        ) as error:  # its path and its advice are of the work folder, which goes now
            what = f"the files do not make a store ({error.path}: {error.what})"
            raise DecantError(f"{out}: {what}") from error
        finally:
            work.remove()
    with contextlib.suppress(OSError):  # unless another import is under way
        (out.parent / _WORK).rmdir()
    return groups
