"""The project: parameters, device, data, disk, locks."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.compute import pick_device
from pipeline.core.dataset_params import DatasetParams
from pipeline.core.files import PREPARED, WORK
from pipeline.core.locks import check_kept, lock, one_machine_mount
from pipeline.core.machine import load_machine
from pipeline.core.params import load_yaml, section
from pipeline.planning.checker import Checker
from pipeline.raw.imagefolder import find_images
from stages.commands.estimate import make_plan
from stages.doctor.finding import Finding
from stages.dvc.running import find_work
from stages.shared.tables import bytes_text

_CIFAR = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}
_MOST_PROBLEMS = 3
_RATE = 1e12  # FLOP/s; hours are not shown


class Project:
    """A project's folder, as the doctor looks at it: the working folder.

    Args:
        params_path: the parameter file.
    """

    def __init__(self, params_path: Path) -> None:
        self.params_path = params_path
        self.content: dict[str, Any] | None = None

    def check_params(self) -> Iterator[Finding]:
        """The parameter file, as `decant check` reads it."""
        self.content = load_yaml(self.params_path)
        problems = Checker(self.content).problems
        if problems:
            more = (
                f" and {len(problems) - _MOST_PROBLEMS} more"
                if len(problems) > _MOST_PROBLEMS
                else ""
            )
            text = "; ".join(problems[:_MOST_PROBLEMS]) + more
            yield Finding("parameters", "problem", text, "`decant check` lists all; mend the file")
            self.content = None  # the rest is looked at when they are mended
        else:
            yield Finding("parameters", "ok", f"{self.params_path} is valid")

    def check_device(self) -> Iterator[Finding]:
        """The device that `machine.device` names."""
        if self.content is None:
            return
        machine = load_machine(self.content)
        try:
            device = pick_device(machine)
        except ValueError as error:
            yield Finding("device", "problem", str(error), "set machine.device: auto")
            return
        text = f"machine.device {machine.device}: networks are trained on {device}"
        yield Finding("device", "ok", text)

    def check_data(self) -> Iterator[Finding]:
        """The raw data set, or the prepared one that stands for it."""
        if self.content is None:
            return
        machine = load_machine(self.content)
        params = section(self.content, DatasetParams, "dataset")
        lacks = lacking_data(params, machine.raw)
        if not lacks:
            where = "with scikit-learn" if params.name == "digits" else f"in {machine.raw}"
            yield Finding("data", "ok", f"{params.name} is there, {where}")
        elif PREPARED.is_dir():
            text = f"{lacks}; {PREPARED} is there, and all that trainings need"
            yield Finding("data", "ok", text)
        elif machine.download and params.name in _CIFAR:
            text = f"{lacks}; `decant prepare` will fetch it (machine.download)"
            yield Finding("data", "ok", text)
        else:
            advice = "set DECANT_DATA, or machine.data_root, to the folder that holds it"
            more = ", or machine.download: true" if params.name in _CIFAR else ""
            yield Finding("data", "problem", lacks, advice + more)

    def check_disk(self) -> Iterator[Finding]:
        """The room on the disk, against what is still to be written."""
        if self.content is None:
            return
        plan = make_plan(self.params_path, ("resnet20",), _RATE)
        text = (
            f"{bytes_text(plan.free_bytes)} free, {bytes_text(plan.bytes_left)} still to be written"
        )
        if plan.fits:
            yield Finding("disk", "ok", text)
        else:
            advice = "free some space (`decant clean`, `dvc gc --workspace`), or move the project"
            yield Finding("disk", "problem", text, advice)


def lacking_data(params: DatasetParams, root: Path) -> str:
    """What is not there of a raw data set, in words; empty where all of it is, as far as names tell."""
    if params.name == "digits":
        return ""
    if params.name == "imagefolder":
        try:
            find_images(root, params.test_fraction)
        except (ValueError, OSError) as error:
            return str(error)
        return ""
    folder = root / _CIFAR[params.name]
    return "" if folder.is_dir() and any(folder.iterdir()) else f"there is no {folder}"


def check_locks() -> Iterator[Finding]:
    """Whether the disk keeps locks, and who holds work folders."""
    folder = WORK if WORK.is_dir() else Path()
    try:
        try_lock(folder)
    except OSError as error:
        advice = "work on a disk that keeps locks (flock): a local one, or ask who runs this one"
        yield Finding("locks", "problem", f"{folder.resolve()}: {error.strerror}", advice)
        return
    if mount := one_machine_mount(folder):
        advice = "run trainings of this folder on one machine at a time (docs/clusters.md)"
        yield Finding("locks", "warning", f"locks reach no other machine ({mount})", advice)
    else:
        yield Finding("locks", "ok", "the disk keeps locks")
    held: dict[str, int] = {}
    for work in find_work(WORK):
        if work.holder is not None:
            held[str(work.holder)] = held.get(str(work.holder), 0) + 1
    for holder, count in held.items():
        text = f"{holder} holds {count} work {'folder' if count == 1 else 'folders'}"
        yield Finding("locks", "ok", f"{text}: `decant status` shows how far it is")


def try_lock(folder: Path) -> None:
    """Lock a file of a folder. Raises OSError where the file system refuses, or says yes to everybody."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".tmp-lock-") as file:
        lock(file.fileno())
        check_kept(Path(file.name), file.fileno())
        os.fsync(file.fileno())
