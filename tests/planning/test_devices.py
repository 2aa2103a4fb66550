"""Devices by name, and memory that is kept."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pipeline.compute import (
    describe_device,
    has_bfloat16,
    keep_freed_memory,
    pick_device,
    precision_warning,
)
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


@pytest.mark.skipif(
    not Path("/proc/cpuinfo").exists(), reason="only Linux lists instructions there"
)
def test_bfloat16_instructions_are_those_of_the_processor():
    listed = {word for word in Path("/proc/cpuinfo").read_text().split() if "bf16" in word}
    cpu = torch.device("cpu")
    assert has_bfloat16(cpu) == bool(listed & {"avx512_bf16", "bf16"})
    key = "training.precision"
    warning = precision_warning({key: "bfloat16", "dumps.a.precision": "float32"}, cpu)
    assert (warning is None) == has_bfloat16(cpu)
    assert precision_warning({key: "float32"}, cpu) is None


def test_a_slow_precision_is_told_with_what_to_set(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    warning = precision_warning({"training.precision": "bfloat16"}, torch.device("cpu"))
    assert warning is not None
    assert warning.endswith("Set training.precision: float32")
    assert has_bfloat16(torch.device("cuda"))
