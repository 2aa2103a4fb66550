"""npz files of logits that were computed elsewhere, with their plans, in; a store out."""

from pathlib import Path
from typing import Any

import click

from pipeline.core.files import PREPARED
from stages.shared.normalising import given_normalisation, normalisation_options
from stages.shared.options import debug_option, path_option
from stages.store.common import params_beside, params_option


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
@debug_option
def import_logits(
    files: tuple[Path, ...], out: Path, prepared: Path, params: Path | None, **stated: Any
) -> None:
    """Make a store of FILES: npz, one a view, as `decant store export` writes them.

    A view's file holds logits [N, C], crop_yx [N, 2] and flip [N], of a mixed view also partner,
    lam and mix_rank [N], and may hold features [N, D]. Views are numbered as the files say, or in
    the order in which they are named. A file of the clean images holds train_logits, train_labels,
    test_logits and test_labels. What the files do not say has to be stated by options.
    """
    from pipeline.tools.import_logits import import_store

    stated["normalisation"] = given_normalisation(stated.pop("mean"), stated.pop("std"))
    groups = import_store(files, out, prepared, params_beside(params, prepared), stated)
    click.echo(f"{', '.join(groups)} -> {out}")
