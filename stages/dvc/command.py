"""The one place in which DVC is started."""

import os
import subprocess
import sys
from pathlib import Path


def run_dvc(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a DVC command and keep what it says to itself."""
    return subprocess.run(
        _command(arguments), capture_output=True, text=True, check=False, env=_environment()
    )


def call_dvc(*arguments: str) -> int:
    """Run a DVC command, whose output goes to the terminal; returns its exit code."""
    return subprocess.run(_command(arguments), check=False, env=_environment()).returncode


def _command(arguments: tuple[str, ...]) -> list[str]:
    return [sys.executable, "-m", "dvc", *arguments]


def _environment() -> dict[str, str]:
    # Stages are run by `python`: this one, also where its environment is not activated.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return os.environ | {"PATH": path}
