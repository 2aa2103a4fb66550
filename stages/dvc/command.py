"""The one place in which DVC is started."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FAILED = 255  # DVC's code for whatever fails


def run_dvc(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a DVC command and keep what it says to itself."""
    return subprocess.run(
        _command("dvc", *arguments),
        capture_output=True,
        text=True,
        check=False,
        env=_environment(),
    )


def call_dvc(*arguments: str) -> int:
    """Run a DVC command, whose output goes to the terminal; returns its exit code."""
    return call_module("dvc", *arguments)


def call_module(module: str, *arguments: str) -> int:
    """Run a module as a program, whose output goes to the terminal; returns its exit code (1 for DVC's)."""
    code = subprocess.run(_command(module, *arguments), check=False, env=_environment()).returncode
    return 1 if code == FAILED else code


def answer_of(module: str, *arguments: str) -> Any:
    """Run a module as a program that writes JSON to the file that is its first argument; returns its value.

    Ends this process where it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "answer.json")
        if code := call_module(module, str(file), *arguments):
            sys.exit(code)
        return json.loads(file.read_text(encoding="utf-8"))


def reproduce_and_look(arguments: Sequence[str], goals: Sequence[str]) -> dict[str, Any]:
    """Run `dvc repro ARGUMENTS`, then return what `dvc status` says of the goals (none: of nothing).

    Ends this process where DVC fails.
    """
    status: dict[str, Any] = answer_of("stages.dvc.inside", json.dumps(goals), *arguments)
    return status


def _command(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments]


def _environment() -> dict[str, str]:
    # Stages are run by `python`: this one, also where its environment is not activated.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return os.environ | {"PATH": path}
