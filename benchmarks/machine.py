"""What a run was measured on: processor, memory, versions, and what else the machine was doing."""

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from pipeline.core.machine import available_cores

PACKAGES = ("torch", "torchvision", "numpy", "pillow", "zarr", "numcodecs", "click")
INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Processor, cores, memory, operating system and, for a GPU, its name and memory."""
    flags = _cpuinfo("flags").split()
    facts: dict[str, Any] = {
        "processor": _cpuinfo("model name") or platform.processor() or platform.machine(),
        "cores": available_cores(),
        "instructions": [name for name in INSTRUCTIONS if name in flags],
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts |= {"gpu": properties.name, "gpu_memory_gb": round(properties.total_memory / 1e9, 1)}
    return facts


def describe_versions() -> dict[str, str]:
    """Versions of what computes."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def load_average() -> float:
    """Processes that wanted a core, on average over the last minute (this one included)."""
    return round(os.getloadavg()[0], 2)


def _cpuinfo(name: str) -> str:
    path = Path("/proc/cpuinfo")
    for line in path.read_text().splitlines() if path.exists() else []:
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""
