"""Figure of the command line: whole processes, from their start to their end."""

import subprocess
import sys
import sysconfig
from functools import partial
from pathlib import Path

from benchmarks.figures import Measured
from benchmarks.setting import Setting
from benchmarks.timing import take_turns


def startup_figure(setting: Setting) -> dict[str, Measured]:
    """`decant --help` against a Python that imports click and ends."""
    script = Path(sysconfig.get_path("scripts")) / "decant"
    decant = [str(script)] if script.exists() else [sys.executable, "-m", "stages.cli"]
    contenders = {
        "help": partial(_run, [*decant, "--help"]),
        "click": partial(_run, [sys.executable, "-c", "import click"]),
    }
    found = take_turns(contenders, setting.rounds)
    facts = {f"{name}_ms": found.seconds(name) * 1e3 for name in contenders}
    measured = Measured.of(found, "help", "click", processor_time=False, facts=facts)
    return {"help_vs_click": measured}


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
