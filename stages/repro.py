"""`dvc repro`, also in a clone that has only a part of the results.

Afterwards it shows the result tables.
"""

import os
import subprocess
import sys
from pathlib import Path

import click

from stages.common import console, load_params, stage_options

PARAMS = Path("params.yaml")
REPORT = Path("reports/report.html")
SUMMARY = Path("reports/summary.txt")


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@stage_options
def repro(arguments: tuple[str, ...], params_path: Path) -> None:
    """Rebuild what is out of date (`dvc repro ARGUMENTS`), then show the results.

    First params.yaml is checked.
    In a clone whose results lie in a DVC remote, what is read is pulled, and what nobody changed is
    not computed again: `dvc repro --pull --allow-missing ARGUMENTS`.
    """
    from stages.checker import check_all
    from stages.raw_changes import warn_of_raw_changes

    if params_path.absolute() != PARAMS.absolute():
        raise click.UsageError(f"DVC reads params.yaml alone: `decant use {params_path}` first")
    content = load_params(params_path)
    check_all(content, params_path)  # what DVC says of a mistake names dvc.yaml, not the key
    targets = [one for one in arguments if not one.startswith("-")]
    options = prepare_clone(params_path, arguments, targets)
    warn_of_raw_changes(content, arguments)
    before = SUMMARY.stat().st_mtime_ns if SUMMARY.exists() else None
    run("repro", *options, *arguments)
    changed = SUMMARY.exists() and SUMMARY.stat().st_mtime_ns != before
    if targets and not changed:
        return  # the results on this disk are not what was asked for
    if not SUMMARY.exists():
        if options:
            console.print("The report is not on this disk: `dvc pull evaluate` fetches it")
        return
    if not changed:  # otherwise the evaluate stage has just shown them
        console.print("Nothing has changed since these results were made:\n")
        console.print(SUMMARY.read_text(encoding="utf-8"), end="")
    console.print(f"Report: {REPORT.resolve()}")


def prepare_clone(params_path: Path, arguments: tuple[str, ...], targets: list[str]) -> list[str]:
    """Pull what is here in an older version; returns the options that a part of the results needs."""
    from stages.locked import Lock
    from stages.upstream import LACKING, has_remote, lacking, outdated

    if not Path("dvc.lock").exists():
        return []
    lock = Lock(Path.cwd(), load_params(params_path))
    lacks = lacking(lock)
    old = outdated(lock, lacks, targets)
    if not (lacks or old) or not has_remote():
        return []
    if old:
        console.print(f"Older than this commit, or here in part: dvc pull {' '.join(old)}")
        run("pull", *old)
        lacks = lacking(lock)
    options = [option for option in LACKING if option not in arguments] if lacks else []
    if options:
        shown = " ".join(["dvc repro", *options, *arguments])
        console.print(f"This clone has a part of the results: {shown}")
    return options


def run(*arguments: str) -> None:
    """Run a DVC command; ends this one where it fails."""
    # Stages are run by `python`: this one, also where its environment is not activated.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, check=False, env=os.environ | {"PATH": path})
    if done.returncode:
        sys.exit(done.returncode)


if __name__ == "__main__":
    repro()
