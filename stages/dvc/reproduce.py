"""What `decant repro` does: check parameters, fetch what is read, `dvc repro`, and look at what it left."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from pipeline.core.files import STORES
from pipeline.planning.checker import check_all
from pipeline.raw.changes import raw_changes
from pipeline.store.format.address import PINNED
from stages.dvc.clone import GOAL, stages_of
from stages.dvc.clone_plan import prepare, show_dry
from stages.dvc.command import reproduce_and_look
from stages.dvc.lock import Lock, digest_of
from stages.dvc.upstream import is_pinned
from stages.dvc.waves import run_waves
from stages.shared.nearest import unknown
from stages.shared.options import console, load_params
from stages.shared.stage_names import KINDS, entries, stage_names
from stages.shared.tables import shown

PARAMS = Path("params.yaml")
REPORT = Path("reports/report.html")
SUMMARY = Path("reports/summary.txt")
# With these DVC leaves results out of its cache, or goes on after a failure that it tells of itself.
UNCHECKED = ("--no-commit", "-k", "--keep-going", "--ignore-errors")


def rebuild(params_path: Path, arguments: Sequence[str], *, yes: bool, dry: bool) -> None:
    """Check the parameters, make what is out of date, and show the results; `dry`: say what would be done.

    Raises as `reproduce`, and ParamsError for mistakes in the parameters.
    """
    if params_path.absolute() != PARAMS.absolute():
        raise click.UsageError(f"DVC reads params.yaml alone: `decant use {params_path}` first")
    content = load_params(params_path)
    check_all(content, params_path)  # what DVC says of a mistake names dvc.yaml, not the key
    targets = _targets(arguments)
    if not any(
        argument.startswith("-") for argument in arguments
    ):  # whose values look like targets
        check_targets(targets, content)
    if dry:
        show_dry(params_path, stages_of(targets, Lock(Path.cwd(), content)))
        return
    if changes := raw_changes(content, arguments):
        console.print(shown(changes))
    changed = reproduce(params_path, arguments, yes=yes)
    if not SUMMARY.exists() or (targets and not changed):
        return  # the results on this disk are not what was asked for
    if not changed:  # otherwise the evaluate stage has just shown them
        console.print("Nothing has changed since these results were made:\n")
        console.print(SUMMARY.read_text(encoding="utf-8"), end="")
    console.print(f"Report: {REPORT.resolve()}")


def check_targets(targets: Sequence[str], content: Mapping[str, Any]) -> None:
    """Raise ValueError, with the nearest name, for a target that is neither a stage nor a path."""
    valid = [*stage_names(content), *KINDS]
    for target in targets:
        is_name = not ({"/", ":", "."} & set(target)) and not Path(target).exists()
        if is_name and target not in valid:
            raise ValueError(unknown("stage", target, valid))


def _targets(arguments: Sequence[str]) -> list[str]:
    return [argument for argument in arguments if not argument.startswith("-")]


def reproduce(params_path: Path, arguments: Sequence[str], *, yes: bool = False) -> bool:
    """Fetch what is read, run `dvc repro ARGUMENTS`, and check that what was asked for is there.

    Returns whether the result tables were written anew (fetched ones are not). Ends the process where
    DVC fails. Raises ValueError where something is missing afterwards, or is to be had by computing
    alone and nobody has said yes to that.
    """
    lock = Lock(Path.cwd(), load_params(params_path))
    goals = stages_of(_targets(arguments), lock)
    check_pins(lock.params, goals)
    options: list[str] = []
    if Path("dvc.lock").exists() and not {"-f", "--force"} & set(arguments):
        options = [
            option for option in prepare(params_path, lock, goals, yes) if option not in arguments
        ]
    if options:
        command = " ".join(["dvc repro", *options, *arguments])
        console.print(f"This clone has a part of the results: {command}")
    before = _modified(SUMMARY)
    if not any(argument.startswith("-") for argument in arguments):
        run_waves(lock, goals, options)
    looked_at = [] if set(UNCHECKED) & set(arguments) else goals
    status = reproduce_and_look([*options, *arguments], looked_at)
    if looked_at:
        check_made(status)
    return _modified(SUMMARY) != before


def check_pins(params: Mapping[str, Any], goals: Sequence[str]) -> None:
    """Raise ValueError where a student that is asked for reads a pinned store that is not here."""
    for name, student in entries(params, "students").items():
        store = str(student.get("store"))
        wanted = {GOAL, f"train_student@{name}"} & set(goals) and is_pinned(params, store)
        if wanted and not (STORES / store).exists():
            teacher = store.partition("/")[0].removesuffix(".zarr")
            address = entries(params, PINNED)[teacher]
            raise ValueError(
                f"{STORES / store}: not here; it is read at {address}: `git checkout {STORES}` brings its "
                f"manifests where git has them, else `decant store pin {teacher} {address}`"
            )


def _modified(path: Path) -> int | None:
    return path.stat().st_mtime_ns if path.exists() else None


def check_made(status: Mapping[str, Any]) -> None:
    """Raise ValueError where what was asked for is not on this disk as dvc.lock has it.

    Args:
        status: what `dvc status` says of it.
    """
    wrong: dict[str, str] = {}
    for stage, changes in status.items():
        kinds = ("changed outs", "changed deps") if stage == GOAL else ("changed outs",)
        for change in changes:
            for kind in kinds if isinstance(change, dict) else ():
                wrong |= change.get(kind, {})
    if not wrong:
        return
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
