"""Raw data set in, decoded uint8 images, labels and class names out (`data/prepared`).

The folder is self-contained: who has it needs no raw data.
"""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

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
    printable,
    stage_options,
)
from stages.progress import ProgressDisplay, Tick

if TYPE_CHECKING:
    from pipeline.datasets import DatasetParams, Progress
    from stages.raw_changes import Files

DVC_STAGE = "DVC_STAGE"  # DVC sets it for the commands that it runs
QUICK_SECONDS = 2.0  # what takes no longer shows no progress


@click.command()
@path_option("--out", PREPARED, "Folder to write.")
@stage_options
def prepare(params_path: Path, out: Path) -> None:
    """Decode, split and resize the data set."""
    from pipeline.datasets import DatasetParams, load_raw
    from pipeline.prepared import DatasetError, save_prepared
    from stages.raw_changes import note_raw_files

    content = load_params(params_path)
    machine = load_machine(content)
    params = section(content, DatasetParams, "dataset")
    try:
        files = list_images(params, machine.raw)
        with progress_of_decoding() as progress:
            data = load_raw(params, machine.raw, download=machine.download, progress=progress)
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
    if files is not None:
        note_raw_files(files, params, out)
        if out == PREPARED and Path("dvc.lock").exists() and DVC_STAGE not in os.environ:
            console.print(
                "DVC does not record what is prepared by hand, and brings back its own: "
                "`decant repro --force prepare` takes changed images in"
            )
    console.print(
        f"{data.name}: {len(data.train.labels)} training and {len(data.test.labels)} "
        f"{data.evaluated_on} images of {len(data.class_names)} classes -> {out}"
    )


def list_images(params: "DatasetParams", root: Path) -> "Files | None":
    """The raw images of class folders; says what is left out, and what changed since the last time.

    None for other data sets, whose files are known beforehand.
    """
    from pipeline.imagefolder import find_images
    from stages.raw_changes import latest_changes, raw_files

    if params.name != "imagefolder":
        return None
    folder = find_images(root, params.test_fraction)
    files = raw_files(folder, root)
    changes = latest_changes(files)
    for remark in (*folder.remarks, *([f"since the last time: {changes}"] if changes else [])):
        console.print(printable(f"{root}: {remark}"), markup=False)
    return files


@contextmanager
def progress_of_decoding() -> "Iterator[Progress]":
    """Shows how many images are decoded, where that takes longer than moments."""
    started = time.monotonic()
    with ProgressDisplay("images") as display:

        def progress(done: int, total: int) -> None:
            if time.monotonic() - started > QUICK_SECONDS:
                display.show(Tick("decode", done, total))

        yield progress


if __name__ == "__main__":
    prepare()
