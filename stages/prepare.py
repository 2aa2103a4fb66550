"""Raw data set in, decoded uint8 images, labels and class names out (`data/prepared`).

The folder is self-contained: who has it needs no raw data.
"""

from pathlib import Path

import click

from pipeline.core.files import PREPARED
from stages.shared.options import console, load_params, path_option, stage_options
from stages.shared.progress import ProgressDisplay
from stages.shared.settings import setting_options


@click.command()
@path_option("--out", PREPARED, "Folder to write.")
@stage_options
@setting_options
def prepare(params_path: Path, out: Path) -> None:
    """Decode, split and resize the data set."""
    from pipeline.raw.prepare import prepare_dataset

    with ProgressDisplay("images") as display:
        data = prepare_dataset(load_params(params_path), out, display)
    console.print(
        f"{data.name}: {len(data.train.labels)} training and {len(data.test.labels)} "
        f"{data.evaluated_on} images of {len(data.class_names)} classes -> {out}"
    )


if __name__ == "__main__":
    prepare()
