"""`dvc repro`, also in a clone that has only a part of the results.

Afterwards what was asked for is on this disk as dvc.lock has it, or the exit code is not 0; the result
tables are shown.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from stages.dvc.clone import GOAL, stages_of
from stages.dvc.command import call_dvc, run_dvc
from stages.dvc.lock import Lock, digest_of
from stages.shared.options import console, load_params, printable, stage_options, tell

PARAMS = Path("params.yaml")
REPORT = Path("reports/report.html")
SUMMARY = Path("reports/summary.txt")
# With these DVC leaves results out of its cache, or goes on after a failure that it tells of itself.
UNCHECKED = ("--no-commit", "-k", "--keep-going", "--ignore-errors")


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.option("--yes", is_flag=True, help="Compute what cannot be fetched, however long it takes.")
@click.option(
    "--dry", is_flag=True, help="Say what would be fetched and what would run; do nothing."
)
@stage_options
def repro(arguments: tuple[str, ...], yes: bool, dry: bool, params_path: Path) -> None:
    """Rebuild what is out of date (`dvc repro ARGUMENTS`), then show the results.

    First params.yaml is checked.
    In a clone, what is read is fetched from DVC's cache or remote, and what nobody changed is not
    computed again. What neither has is computed: at once where that takes less than an hour and
    there is no remote, else after a yes.
    """
    from pipeline.planning.checker import check_all
    from pipeline.raw.changes import raw_changes

    if params_path.absolute() != PARAMS.absolute():
        raise click.UsageError(f"DVC reads params.yaml alone: `decant use {params_path}` first")
    content = load_params(params_path)
    check_all(content, params_path)  # what DVC says of a mistake names dvc.yaml, not the key
    targets = [argument for argument in arguments if not argument.startswith("-")]
    if dry:
        from stages.dvc.clone_plan import show_dry

        show_dry(params_path, stages_of(targets, Lock(Path.cwd(), content)))
        return
    if changes := raw_changes(content, arguments):
        tell(printable(changes))
    changed = reproduce(params_path, arguments, yes=yes)
    if not SUMMARY.exists() or (targets and not changed):
        return  # the results on this disk are not what was asked for
    if not changed:  # otherwise the evaluate stage has just shown them; they may have been fetched
        console.print("Nothing has changed since these results were made:\n")
        console.print(SUMMARY.read_text(encoding="utf-8"), end="")
    console.print(f"Report: {REPORT.resolve()}")


def reproduce(params_path: Path, arguments: Sequence[str], *, yes: bool = False) -> bool:
    """Fetch what is read, run `dvc repro ARGUMENTS`, and check that what was asked for is there.

    Returns whether the result tables were written anew, and so shown. Ends the process where DVC fails. Raises ValueError where something is missing afterwards, or is
    to be had by computing alone and nobody has said yes to that.
    """
    targets = [argument for argument in arguments if not argument.startswith("-")]
    content = load_params(params_path)
    goals = stages_of(targets, Lock(Path.cwd(), content))
    options: list[str] = []
    if Path("dvc.lock").exists() and not {"-f", "--force"} & set(arguments):
        from stages.dvc.clone_plan import prepare

        options = [option for option in prepare(params_path, goals, yes) if option not in arguments]
    if options:
        shown = " ".join(["dvc repro", *options, *arguments])
        console.print(f"This clone has a part of the results: {shown}")
    before = _modified(SUMMARY)
    run("repro", *options, *arguments)
    if not set(UNCHECKED) & set(arguments):
        check_made(goals)
    return _modified(SUMMARY) != before


def _modified(path: Path) -> int | None:
    return path.stat().st_mtime_ns if path.exists() else None


def check_made(goals: Sequence[str]) -> None:
    """Raise ValueError where what was asked for is not on this disk as dvc.lock has it."""
    wrong: dict[str, str] = {}
    known = json.loads(run_dvc("status", "--json", *goals).stdout or "{}") if goals else {}
    for stage, changes in known.items():
        kinds = ("changed outs", "changed deps") if stage == GOAL else ("changed outs",)
        for change in changes:
            for kind in kinds if isinstance(change, dict) else ():
                wrong |= change.get(kind, {})
    digest_of.cache_clear()  # files have changed since
    outs = Lock(Path.cwd(), load_params(PARAMS)).outs
    wrong = {
        path: state
        for path, state in wrong.items()
        if state != "not in cache" or digest_of(Path(path)) != outs.get(path)
    }
    if wrong:
        lines = [f"{path}: {state}" for path, state in wrong.items()]
        advice = "`dvc status` says more; `dvc repro --force --single-item STAGE` makes a stage run"
        raise ValueError("\n".join(["not as dvc.lock has it:", *lines, advice]))


def run(*arguments: str) -> None:
    """Run a DVC command; ends this one where it fails."""
    if code := call_dvc(*arguments):
        sys.exit(code)


if __name__ == "__main__":
    repro()
