"""What stages compute on and with: the device, its threads and the work folder.

A work folder keeps what is done of a computation between runs. Its key covers parameters, inputs, code,
versions and the kind of device: work of others is not gone on with.
"""

import ctypes
import hashlib
import json
import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.core.files import WORK, WorkFolder, work_key
from pipeline.core.machine import Machine

# glibc's mallopt: parameters, and sizes above which memory goes back to the system.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
KEPT_BYTES = 1 << 30


_ALL = ("compute.py", "core", "models", "views")
_TRAINING = (*_ALL, "results", "training")
# The parts of pipeline/ that a stage's numbers come from: those that dvc.yaml names (a test compares them,
# and both with the real imports). What else a process has imported changes no number.
ROOMS = {
    "train_teacher": (*_TRAINING, "hard_labels"),
    "train_baseline": (*_TRAINING, "hard_labels"),
    "dump": (*_ALL, "dump", "results/record.py", "store/format", "store/write"),
    "features": ("models", "views"),
    "train_student": (
        *_TRAINING,
        "distill",
        "losses",
        "store/format",
        "store/read.py",
        "store/remote",
    ),
}


def open_work(stage: str, facts: Mapping[str, Any], device: torch.device) -> WorkFolder:
    """The work folder of a stage's computation: the same facts find the same folder again."""
    everything = {
        **facts,
        "device": device.type,
        "versions": versions(),
        "code": code_digest(ROOMS[stage]),
    }
    return WorkFolder(WORK, work_key(json.loads(json.dumps(everything))))


@cache
def code_digest(rooms: tuple[str, ...]) -> str:
    """sha256 (hex) over the names and text of the modules in some parts of `pipeline/`, as first read."""
    root = Path(__file__).resolve().parent
    digest = hashlib.sha256()
    for room in sorted(rooms):
        files = sorted((root / room).rglob("*.py")) or [root / room]
        for file in filter(Path.is_file, files):  # not an editor's lock, which is a link to nowhere
            name = file.relative_to(root).as_posix()
            digest.update(name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def pick_device(machine: Machine) -> torch.device:
    """The device of this machine that `machine.device` names; where a cluster trains: any that is there.

    Raises ValueError where there is none such.
    """
    if machine.device == "auto" or machine.cluster is not None:
        if not torch.cuda.is_available():
            return torch.device("cpu")
        return torch.device("cuda", torch.cuda.current_device())
    device = torch.device(machine.device)
    if device.type != "cuda":
        return device
    if (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"machine.device: {machine.device} is not there ({torch.cuda.device_count()} CUDA "
            "devices found); use auto or cpu"
        )
    return torch.device("cuda", device.index or 0)


def work_device(machine: Machine) -> torch.device:
    """Where trainings and dumps run: this machine's device, or the kind of device of a cluster's nodes.

    Raises as `pick_device`; a cluster's nodes are not looked at.
    """
    return pick_device(machine) if machine.cluster is None else torch.device(machine.device)


def set_up(device: torch.device, threads: int) -> None:
    """Fix the number of CPU threads and how a GPU computes: float32 as TF32, the same in every run."""
    torch.set_num_threads(threads)
    keep_freed_memory()
    if device.type == "cuda":
        if device.index is not None:
            torch.cuda.set_device(device)
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True
        # Choosing by timing could choose another algorithm, and other last bits, in a resumed run.
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True


def keep_freed_memory() -> None:
    """Have the C library keep memory that is freed, for the next step to take.

    Else it goes back to the system and comes as fresh pages: some 7,000 page faults in each step of a
    resnet20 on 50,000 images, a tenth of its time. Does nothing where the library is not glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(MMAP_THRESHOLD, KEPT_BYTES)
        mallopt(TRIM_THRESHOLD, KEPT_BYTES)


def versions() -> dict[str, str]:
    """Versions of what computes: for manifests and timings."""
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__,
    }


def describe_device(device: torch.device) -> dict[str, Any]:
    """The device in words and, of a GPU, the most memory that this process has held; for timings."""
    if device.type == "cuda":
        return {
            "device": torch.cuda.get_device_name(device),
            "device_memory_bytes": torch.cuda.max_memory_reserved(device),
        }
    return {
        "device": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
    }
