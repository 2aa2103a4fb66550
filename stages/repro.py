"""`dvc repro`, and afterwards the result tables and where the report is."""

import subprocess
import sys
from pathlib import Path

import click

from stages.common import console, stage_options

REPORT = Path("reports/report.html")
SUMMARY = Path("reports/summary.txt")


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@stage_options
def repro(arguments: tuple[str, ...], params_path: Path) -> None:
    """Rebuild what is out of date (`dvc repro ARGUMENTS`), then show the results."""
    before = SUMMARY.stat().st_mtime_ns if SUMMARY.exists() else None
    done = subprocess.run([sys.executable, "-m", "dvc", "repro", *arguments], check=False)
    if done.returncode:
        sys.exit(done.returncode)
    if not SUMMARY.exists():
        return
    if SUMMARY.stat().st_mtime_ns == before:  # otherwise the evaluate stage has just shown them
        console.print("Nothing has changed since these results were made:\n")
        console.print(SUMMARY.read_text(encoding="utf-8"), end="")
    console.print(f"Report: {REPORT.resolve()}")


if __name__ == "__main__":
    repro()
