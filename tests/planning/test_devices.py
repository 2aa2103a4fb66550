"""Devices by name, and memory that is kept."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pipeline.compute import describe_device, keep_freed_memory, pick_device
from pipeline.core.machine import Machine

ROOT = Path(__file__).resolve().parents[2]


def test_devices_by_name():
    assert pick_device(Machine(data_root="", device="cpu")) == torch.device("cpu")
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert pick_device(Machine(data_root="", device="auto")).type == expected
    for wrong in ("gpu", "cuda:99"):
        with pytest.raises(ValueError, match="device"):
            pick_device(Machine(data_root="", device=wrong))


def test_a_cpu_is_described_with_its_threads():
    described = describe_device(torch.device("cpu"))
    assert described["threads"] == torch.get_num_threads()
    assert described["device"]


FAULTS = """
import resource, sys, torch
from pipeline.compute import keep_freed_memory
if "keep" in sys.argv:
    keep_freed_memory()
def work():
    for _ in range(20):
        torch.ones(2**22)  # 16 MB
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the C library is not glibc")
def test_freed_memory_is_kept():
    command = [sys.executable, "-c", FAULTS]
    done = subprocess.run([*command, "keep"], capture_output=True, text=True, cwd=ROOT, check=True)
    assert int(done.stdout) < 100
    keep_freed_memory()  # and again changes nothing
