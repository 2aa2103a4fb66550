"""Read a raw data set and publish the folder of the prepared one."""

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.core.dataset import ImageData, save_prepared
from pipeline.core.dataset_facts import DatasetError
from pipeline.core.dataset_params import DatasetParams
from pipeline.core.files import PREPARED, WORK, WorkFolder, work_key
from pipeline.core.machine import load_machine
from pipeline.core.params import section
from pipeline.core.progress import Display, Tick
from pipeline.raw.changes import Files, latest_changes, note_raw_files, raw_files
from pipeline.raw.imagefolder import find_images
from pipeline.raw.load import load_raw

DVC_STAGE = "DVC_STAGE"  # DVC sets this variable for its stages
QUICK_SECONDS = 2.0  # faster work shows no progress


def prepare_dataset(content: dict[str, Any], out: Path, display: Display) -> ImageData:
    """Decode, resize and split the data set of a parameter file, and publish it.

    Raises DatasetError if the raw data are missing, damaged or unsuitable.
    """
    machine = load_machine(content)
    params = section(content, DatasetParams, "dataset")
    try:
        files = list_images(params, machine.raw, display)
        data = load_raw(params, machine.raw, download=machine.download, progress=decoding(display))
    except DatasetError as error:
        if Path("dvc.lock").exists() and not out.exists():
            hint = "In a clone you may not need the raw data: `decant repro` pulls the results"
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
            display.tell(
                "DVC does not record data prepared by hand and restores its own version: to use changed "
                "images, run `decant repro --force prepare`"
            )
    return data


def list_images(params: DatasetParams, root: Path, display: Display) -> Files | None:
    """The image files of class folders; reports ignored files, and changes since the last `prepare`.

    None for other data sets: their files are fixed.
    """
    if params.name != "imagefolder":
        return None
    folder = find_images(root, params.test_fraction)
    files = raw_files(folder, root)
    changes = latest_changes(files)
    remarks = [*folder.remarks, f"since the last time: {changes}"] if changes else folder.remarks
    for remark in remarks:
        display.tell(f"{root}: {remark}")
    return files


def decoding(display: Display) -> Callable[[int, int], None]:
    """A callback that shows how many images are decoded, once decoding takes some seconds."""
    started = time.monotonic()

    def progress(done: int, total: int) -> None:
        if time.monotonic() - started > QUICK_SECONDS:
            display.show(Tick("decode", done, total))

    return progress
