"""The device that a stage computes on, its threads and its memory."""

import ctypes
import platform
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from stages.common import Machine

# glibc's mallopt: parameters, and sizes above which memory goes back to the system.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
KEPT_BYTES = 1 << 30


def pick_device(machine: Machine) -> torch.device:
    """The device that `machine.device` names. Raises ValueError where there is none such."""
    if machine.device == "auto":
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


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device computes in bfloat16 by instructions of its own.

    A processor without them converts each number back and forth: a convolution of AVX2 alone takes seven
    times as long as in float32.
    """
    if device.type != "cpu":
        return True
    if platform.machine().lower() in ("x86_64", "amd64"):
        # Not mkldnn's question, which any AVX-512 answers with yes.
        return bool(torch.cpu._is_avx512_bf16_supported())
    available = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return bool(available and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def precision_warning(precisions: Mapping[str, str], device: torch.device) -> str | None:
    """What to tell who is about to compute in these precisions, by the keys of params.yaml that say so."""
    slow = [key for key, precision in precisions.items() if precision == "bfloat16"]
    if not slow or has_bfloat16(device):
        return None
    return (
        "WARNING: this processor has no bfloat16 instructions: `precision: bfloat16` takes several times "
        f"as long as float32 here. Set {', '.join(f'{key}: float32' for key in slow)}"
    )


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
