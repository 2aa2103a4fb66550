"""npz files of logits that were computed elsewhere, with their plans, in; a store out."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.core.files import PREPARED
from stages.shared.normalising import given_normalisation, normalisation_options
from stages.shared.options import path_option
from stages.store.common import params_beside, params_option, store_options

if TYPE_CHECKING:
    from pipeline.store.format.manifest import DatasetInfo
    from pipeline.tools.importing import Given, GroupName, Stated

_WORK = ".importing"


@click.command("import-logits")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Store to make: NAME.zarr."
)
@path_option("--prepared", PREPARED, "Prepared data set that the logits belong to.")
@click.option("--teacher", help="Name of the teacher.  [default: the files', or the store's]")
@click.option("--network", help="Its architecture.  [default: the files']")
@click.option("--accuracy", "top1_accuracy", type=click.FloatRange(0, 1), help="Its accuracy.")
@click.option("--pad", type=click.IntRange(min=0), help="Zero pixels on each side before crops.")
@click.option(
    "--alpha", type=click.FloatRange(min=0, min_open=True), help="Of mixup; for mixed views."
)
@click.option("--precision", help="Arithmetic of the forward pass, such as float32.")
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    help="Largest difference of a logit that recomputing may show.",
)
@normalisation_options
@click.option("--lossy", is_flag=True, help="The logits are worse than float16 of a float32 pass.")
@params_option
@store_options
def import_logits(
    files: tuple[Path, ...], out: Path, prepared: Path, params: Path | None, **stated: Any
) -> None:
    """Make a store of FILES: npz, one a view, as `decant store export` writes them.

    A view's file holds logits [N, C], crop_yx [N, 2] and flip [N], of a mixed view also partner,
    lam and mix_rank [N], and may hold features [N, D]. Views are numbered as the files say, or in
    the order in which they are named. A file of the clean images holds train_logits, train_labels,
    test_logits and test_labels. What the files do not say has to be stated by options.
    """
    from pipeline.core.dataset_params import load_dataset
    from pipeline.store.format.manifest import describe_dataset
    from pipeline.tools.importing import Stated, look_at
    from pipeline.tools.verify import verify_store

    if out.suffix != ".zarr":
        raise ValueError(f"{out}: the name of a store ends with .zarr")
    if out.exists():
        raise ValueError(f"{out}: there is something already; name a new store, or delete that one")
    there = (prepared / "dataset.json").exists()
    dataset = (
        describe_dataset(load_dataset(prepared, params_beside(params, prepared))) if there else None
    )
    stated["normalisation"] = given_normalisation(stated.pop("mean"), stated.pop("std"))
    given = [look_at(path) for path in files]
    groups = write(given, out, Stated(**stated), dataset)
    problems = verify_store(out, deep=True)
    assert not problems, problems
    click.echo(f"{', '.join(groups)} -> {out}")


def write(
    given: "list[Given]", out: Path, stated: "Stated", prepared: "DatasetInfo | None"
) -> "list[GroupName]":
    """Write and publish the store; returns its groups."""
    from pipeline.core.files import WorkFolder, work_key
    from pipeline.tools.importing import check_origin, import_group, in_order, make_header

    check_origin(given)
    files: dict[str, Path] = {}
    groups: list[GroupName] = sorted({file.group for file in given})
    with WorkFolder(out.parent / _WORK, work_key({"store": out.name})) as work:
        try:
            for group in groups:
                members = in_order([file for file in given if file.group == group])
                if group == "clean" and len(members) > 1:
                    raise ValueError(f"{members[1].path}: a second file of the clean images")
                header = make_header(members, stated, out.stem, prepared)
                files |= import_group(work.path / "store", members, header)
            work.publish(files, out)
        finally:
            work.remove()
    with contextlib.suppress(OSError):  # unless another import is under way
        (out.parent / _WORK).rmdir()
    return groups


if __name__ == "__main__":
    import_logits()
