"""Where and how to compute: the section `machine`, on which no stage depends."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pipeline.core.params import AtLeast, section


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where and how to compute, never what: the section `machine` of params.yaml.

    No stage depends on it. `data_root` is the folder of raw data sets (the environment variable
    DECANT_DATA goes first), `device` is auto, cpu, cuda or cuda:N, `threads` the CPU threads of one
    process (networks this small gain little from a second one, and lose much where another program
    wants the core), `workers` the replicates that train at the same time on a CPU (0: one a core).
    """

    data_root: str
    download: bool = False
    device: str = "auto"
    threads: Annotated[int, AtLeast(1)] = 1
    workers: Annotated[int, AtLeast(0)] = 0

    def __post_init__(self) -> None:
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device):
            raise ValueError(f"device: expected auto, cpu, cuda or cuda:N, found {self.device!r}")

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
