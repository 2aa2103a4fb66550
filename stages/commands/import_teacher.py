"""A checkpoint that was trained elsewhere in; checked safetensors weights out, with their accuracy."""

from pathlib import Path

import click

from pipeline.core.files import PREPARED
from stages.shared.completion import networks
from stages.shared.normalising import given_normalisation, normalisation_options
from stages.shared.options import console, load_params, path_option, stage_options
from stages.shared.progress import ProgressDisplay


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--arch",
    required=True,
    shell_complete=networks,
    help="Name of the network, e.g. resnet56 or ShuffleV1.",
)
@click.option(
    "--key",
    help="Which weights are meant where FILE holds several, e.g. state_dict_ema.  [default: those that "
    "fit the network, before any averages of them]",
)
@normalisation_options
@path_option("--prepared", PREPARED, "Prepared data set that the accuracy is measured on.")
@path_option("--out", None, "File to write.  [default: data/imported/ARCH.safetensors]")
@stage_options
def import_teacher(
    file: Path,
    arch: str,
    key: str | None,
    mean: tuple[float, float, float] | None,
    std: tuple[float, float, float] | None,
    params_path: Path,
    prepared: Path,
    out: Path | None,
) -> None:
    """Convert the checkpoint FILE (.pth or .safetensors) and measure its accuracy.

    Every name, shape and number is checked against the network. Nothing in FILE is executed. Give
    --mean and --std where the network was trained under another normalisation than the data set's: an
    accuracy under a wrong one can be points too low, or tens of points.
    """
    from pipeline.tools.import_teacher import import_teacher as import_weights

    own = given_normalisation(mean, std)
    content = load_params(params_path)
    with ProgressDisplay("images") as display:
        imported = import_weights(file, arch, key, own, content, prepared, out, display)
    console.print(
        f"{imported.name}: {imported.accuracy:.2%} on {imported.where} -> {imported.path}"
    )
    if own is None:
        console.print(
            "If the network was trained under another normalisation, give that: --mean R G B --std R G B"
        )
    console.print("To use it, give a teacher of params.yaml these lines:")
    console.print(imported.entry)
