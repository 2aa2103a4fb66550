"""Commands that a test has torchrun start on several processes."""

import os
import subprocess
import sys

from workspaces import ROOT


def torchrun(processes, *command, folder=ROOT):
    """Start it; torchrun's own log goes to the output too."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment.pop("DECANT_DATA", None)
    starter = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return subprocess.Popen(
        [sys.executable, "-m", *starter, *map(str, command)],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(process, code=0):
    output, _ = process.communicate(timeout=300)
    assert process.returncode == code, output
    return output
