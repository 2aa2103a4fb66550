"""Where and how to compute: the section `machine`, on which no stage depends."""

import contextlib
import math
import os
from pathlib import Path
from typing import Any

from pydantic import Field

from pipeline.core.params import checked, section

JOBS_VARIABLE = "DECANT_JOBS"
CGROUP = Path("/sys/fs/cgroup")  # a container's own
_QUOTAS = (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"))  # versions 2 and 1


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
    cluster: str | None = Field(
        default=None,
        pattern=r"^(local|auto|[^\s:/]+:\d+)$",
        description="Ray cluster that trains and dumps: local, auto or HOST:PORT; null: this machine does",
    )
    cache_folder: str | None = Field(
        default=None,
        description="folder for views of remote stores, shared by projects; null: in the user's cache",
    )
    cache_gigabytes: float = Field(
        default=20.0, ge=1, description="of views of remote stores that are kept, in 1e9 bytes"
    )

    def __post_init__(self) -> None:
        if self.cluster is not None and self.device not in ("cpu", "cuda"):
            raise ValueError(
                f"device: expected cpu or cuda where there is a cluster, found {self.device!r}: results "
                "of the two differ, and this machine does not know what its nodes have"
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
        return max(1, min(jobs, asked_jobs() or self.workers or self.cores))

    def streams(self, most: int) -> int:
        """How many networks train at the same time on a GPU, if they fit; at most `most`."""
        return min(most, asked_jobs() or most)


def load_machine(content: dict[str, Any]) -> Machine:
    """The `machine` section."""
    return section(content, Machine, "machine")


def asked_jobs() -> int | None:
    """The environment variable DECANT_JOBS, which goes before `workers`; None where it is not set.

    Raises ValueError where it is no positive whole number.
    """
    text = os.environ.get(JOBS_VARIABLE) or None
    if text is not None and not (text.isdecimal() and int(text) > 0):
        raise ValueError(f"{JOBS_VARIABLE}: {text!r} is not a number of networks; give 1 or more")
    return None if text is None else int(text)


def available_cores() -> int:
    """Processor cores that this process may use; all of the machine's where the system does not tell."""
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        cores = len(os.sched_getaffinity(0))
    return min(cores, quota_cores() or cores)


def quota_cores() -> int | None:
    """Cores whose time a container may use (`docker run --cpus`), rounded up; None without a limit."""
    for files in _QUOTAS:
        with contextlib.suppress(OSError):
            quota, period = " ".join((CGROUP / file).read_text() for file in files).split()
            if quota.isdecimal():  # neither "max" nor -1
                return math.ceil(int(quota) / int(period))
    return None
