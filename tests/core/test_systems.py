"""Other systems: macOS has no os.sched_getaffinity, Windows no fcntl. Real processes without them.

A container may have less time than its processors offer.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.core import machine
from pipeline.core.machine import available_cores, quota_cores

ROOT = Path(__file__).resolve().parents[2]


def python(code, *arguments):
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


NO_AFFINITY = """
import os, sys
del os.sched_getaffinity
from pipeline.core.machine import Machine
from benchmarks.machine import describe_machine
import torch
print(Machine(data_root="").cores, describe_machine(torch.device("cpu"))["cores"])
"""


def test_cores_without_affinity():
    done = python(NO_AFFINITY)
    assert done.returncode == 0, done.stderr
    cores = os.cpu_count()
    assert done.stdout.split() == [str(min(cores, quota_cores() or cores))] * 2


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, None),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu.max": "200000 100000"}, 2),
        ({"cpu.max": "250000 100000"}, 3),
        ({"cpu.max": "10000 100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "150000", "cpu/cpu.cfs_period_us": "100000"}, 2),
    ],
)
def test_a_container_s_quota_counts(tmp_path, monkeypatch, files, cores):
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(64), raising=False)
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(f"{text}\n")
    assert quota_cores() == cores
    assert available_cores() == (cores or 64)


CHECK_WITHOUT_AFFINITY = """
import os
del os.sched_getaffinity
from stages.cli import main
main(["plan", "digits", "--rate", "1e11"])
"""


def test_a_command_without_affinity():
    done = python(CHECK_WITHOUT_AFFINITY)
    assert done.returncode == 0, done.stderr
    assert "Times: reckoned with 100 GFLOP/s" in done.stdout


# What the installed command `decant` does, and `python -m stages.check`, which DVC runs.
STARTS = {
    "decant": "from stages.cli import main; main(['--version'])",
    "module": "import runpy; runpy.run_module('stages.check', run_name='__main__')",
}


@pytest.mark.parametrize("start", STARTS)
def test_windows_is_refused_in_one_sentence(start):
    done = python(f"import sys; sys.modules['fcntl'] = None; {STARTS[start]}")
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: Decant runs on Linux")
    assert "not on Windows itself" in line


def test_the_library_alone_says_the_same():
    done = python("import sys; sys.modules['fcntl'] = None; import pipeline.core.files")
    assert "ImportError: Decant runs on Linux" in done.stderr.splitlines()[-1]
