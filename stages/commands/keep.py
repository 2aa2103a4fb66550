"""Trained networks in, their numbers as small JSON files out: what of a study belongs beside the code."""

from pathlib import Path

import click

from stages.shared.networks import features_option, network_options
from stages.shared.options import console, load_params, stage_options


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@network_options
@features_option
@stage_options
def keep(
    folder: Path,
    params_path: Path,
    prepared: Path,
    teachers: Path,
    baselines: Path,
    students: Path,
    features: Path,
) -> None:
    """Write the numbers of every network of params.yaml that is trained into FOLDER.

    One JSON file a network: record, timing, curves, scores and V-scores. `decant evaluate --kept
    FOLDER` makes tables and figures of them where the networks themselves are not at hand. Files of
    networks that are not trained here stay as they are.
    """
    from pipeline.evaluation.kept import keep_networks

    content = load_params(params_path)
    folders = {"teachers": teachers, "baselines": baselines, "students": students}
    count, all_of_them = keep_networks(content, prepared, folders, features, folder, console.print)
    console.print(f"{count} of {all_of_them} networks -> {folder}")
