"""Commands that a test has torchrun start on several processes."""

import contextlib
import os
import subprocess
import sys
import tempfile

from child_processes import running
from workspaces import ROOT


@contextlib.contextmanager
def started(processes, *command, folder=ROOT):
    """It runs; torchrun's own log goes to the output too."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment.pop("DECANT_DATA", None)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    with (
        tempfile.TemporaryDirectory() as logs,
        running(
            [*torchrun, "--nproc-per-node", str(processes), "--log-dir", logs, *map(str, command)],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        yield process


def ended(process, code=0):
    """Wait for its end, which is with that code; its output."""
    output, _ = process.communicate(timeout=300)
    assert process.returncode == code, output
    return output


def torchrun(processes, *command, folder=ROOT, code=0):
    """Run it to its end, which is with that code; its output."""
    with started(processes, *command, folder=folder) as process:
        return ended(process, code)
