"""Where and how to compute: the section `machine`, on which no stage depends."""

import os
from pathlib import Path
from typing import Any

from pydantic import Field

from pipeline.core.params import checked, section


@checked
class Machine:
    """Where and how to compute, never what: the section `machine`, on which no stage depends."""

    data_root: str = Field(
        description="folder of raw data sets; the environment variable DECANT_DATA goes first"
    )
    download: bool = Field(
        default=False, description="fetch CIFAR into data_root where it is absent"
    )
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="auto, cpu, cuda or cuda:N",
    )
    # Networks this small gain little from a second one, and lose much where another program wants the core.
    threads: int = Field(default=1, ge=1, description="CPU threads of one process")
    workers: int = Field(
        default=0, ge=0, description="networks that train at the same time on a CPU; 0: one a core"
    )
    cache_folder: str | None = Field(
        default=None,
        description="folder for views of remote stores, shared by projects; null: in the user's cache",
    )
    cache_gigabytes: float = Field(
        default=20.0, ge=1, description="of views of remote stores that are kept, in 1e9 bytes"
    )

    @property
    def raw(self) -> Path:
        """The folder of raw data sets."""
        return Path(os.environ.get("DECANT_DATA") or self.data_root).expanduser()

    @property
    def cores(self) -> int:
        """Processor cores that this process may use."""
        return available_cores()

    def processes(self, jobs: int) -> int:
        """How many of the jobs run at the same time on a CPU."""
        return max(1, min(jobs, self.workers or self.cores))


def load_machine(content: dict[str, Any]) -> Machine:
    """The `machine` section."""
    return section(content, Machine, "machine")


def available_cores() -> int:
    """Processor cores that this process may use; all of the machine's where the system does not tell."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS
