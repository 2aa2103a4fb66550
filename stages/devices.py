"""The device that a stage computes on, and its threads."""

import platform
from typing import Any

import numpy as np
import torch

from stages.common import Machine


def pick_device(machine: Machine) -> torch.device:
    """The device that `machine.device` names. Raises ValueError where there is none such."""
    if machine.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(machine.device)
    except RuntimeError:
        raise ValueError(
            f"machine.device: expected auto, cpu, cuda or cuda:N, found {machine.device!r}"
        ) from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"machine.device: {machine.device} is not there ({torch.cuda.device_count()} CUDA "
            "devices found); use auto or cpu"
        )
    return device


def set_up(device: torch.device, threads: int) -> None:
    """Fix the number of CPU threads, and float32 matrix products on a GPU to TF32."""
    torch.set_num_threads(threads)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True


def versions() -> dict[str, str]:
    """Versions of what computes: for manifests and timings."""
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__,
    }


def describe_device(device: torch.device) -> dict[str, Any]:
    """The device in words, for timings."""
    if device.type == "cuda":
        return {"device": torch.cuda.get_device_name(device)}
    return {
        "device": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
    }
