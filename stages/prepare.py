"""Raw data set in, decoded uint8 images, labels and class names out (`data/prepared`).

The folder is self-contained: who has it needs no raw data.
"""

import shutil
from dataclasses import asdict
from pathlib import Path

import click

from pipeline.params import section
from pipeline.publish import WorkFolder, work_key
from stages.common import (
    PREPARED,
    WORK,
    console,
    load_machine,
    load_params,
    path_option,
    stage_options,
)


@click.command()
@path_option("--out", PREPARED, "Folder to write.")
@stage_options
def prepare(params_path: Path, out: Path) -> None:
    """Decode, split and resize the data set."""
    from pipeline.datasets import DatasetParams, load_raw
    from pipeline.prepared import DatasetError, save_prepared

    content = load_params(params_path)
    machine = load_machine(content)
    params = section(content, DatasetParams, "dataset")
    try:
        data = load_raw(params, machine.raw, download=machine.download)
    except DatasetError as error:
        if Path("dvc.lock").exists() and not out.exists():
            hint = (
                "Who has the results of others needs no raw data: `decant repro` pulls what is read"
            )
            raise DatasetError(f"{error}\n{hint} (docs/sharing.md).") from error
        raise
    with WorkFolder(WORK, work_key({"stage": "prepare", "dataset": repr(asdict(params))})) as work:
        folder = work.path / "prepared"
        shutil.rmtree(folder, ignore_errors=True)
        save_prepared(data, folder)
        work.publish({file.name: file for file in folder.iterdir()}, out)
        shutil.rmtree(folder)
    console.print(
        f"{data.name}: {len(data.train.labels)} training and {len(data.test.labels)} "
        f"{data.evaluated_on} images of {len(data.class_names)} classes -> {out}"
    )


if __name__ == "__main__":
    prepare()
