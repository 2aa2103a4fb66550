"""Brings what a clone lacks onto its disk, and says what only computing can bring."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import click

from stages.dvc.clone import GOAL, Clone, needs
from stages.dvc.command import call_dvc
from stages.dvc.lock import Lock
from stages.dvc.outdated import outdated
from stages.dvc.upstream import has_remote, lacking
from stages.dvc.waves import make_lost
from stages.shared.options import console, load_params
from stages.shared.stage_names import stage_names
from stages.shared.tables import hours_text, listed

MOST_HOURS = 1.0  # of computing without a yes
LACKING = ("--pull", "--allow-missing")


def prepare(params_path: Path, lock: Lock, goals: Sequence[str], yes: bool) -> list[str]:
    """Bring here what the goals read, or compute it; returns the options that `dvc repro` needs then.

    Raises ValueError where computing it needs a yes that nobody gave; ends the process where DVC
    cannot reach the remote.
    """
    kept = put_back(Clone(lock, goals))
    lacks = lacking(lock)
    old = outdated(lock, lacks, goals)
    if old and not has_remote():  # then DVC's cache has to have it
        old = [name for name in old if not is_lacking(name, lacks)]
    if old:
        command = "pull" if has_remote() else "checkout"
        console.print(f"Older than this commit, or here in part: dvc {command} {' '.join(old)}")
        bring(command, old)
    clone = Clone(Lock(Path.cwd(), lock.params), goals)
    clone.lose_what_nobody_has()
    to_run = fetch(clone)
    if clone.lost & set(to_run):
        announce(params_path, clone, to_run, remote=has_remote(), yes=yes)
        make_lost([name for name in to_run if name in clone.lost or name == "check"])
        kept |= put_back(Clone(Lock(Path.cwd(), lock.params), goals))  # their inputs are here now
    lock = Lock(Path.cwd(), lock.params)
    left = {path: stage for path, stage in lacking(lock).items() if stage not in kept}
    if left:
        tell_left(left, remote=has_remote())
    # Of a store that only the cache has, DVC would make another one: a stage with results in git is
    # never taken from its run cache.
    away = any(lock.state(name) == "elsewhere" for name in stage_names(lock.params))
    if not (left or kept or away):
        return []
    return [option for option in LACKING if has_remote() or option != "--pull"]


def is_lacking(name: str, lacks: Mapping[Path, str]) -> bool:
    """Whether DVC's cache lacks something of a stage or a path, by what `lacking` found."""
    return name in lacks.values() or any(Path(name).is_relative_to(path) for path in lacks)


def put_back(clone: Clone) -> set[str]:
    """Give the cache again what it lost, and this disk still has; returns the stages that made it.

    DVC does that for stages all of whose inputs are here; what the others made stays as it is.
    """
    kept = clone.uncached()
    whole = [
        name
        for name in kept
        if all(clone.is_here(*need) for need in needs(name, clone.lock.params))
    ]
    if kept:
        console.print(f"On this disk, but no longer in DVC's cache: {listed(kept)}")
    if whole and (code := call_dvc("commit", "--quiet", *whole)):
        sys.exit(code)
    return set(kept)


def fetch(clone: Clone) -> list[str]:
    """Bring here what is done, as far as it is to be had; returns the stages that have to run."""
    tried: set[str] = set()
    while True:
        wanted, to_run = clone.wanted()
        new = [name for name in wanted if name not in tried]
        if not new:
            return to_run
        command = "pull" if has_remote() else "checkout"
        console.print(f"Read, and not on this disk: {listed(new)} (`dvc {command}`)")
        bring(command, new)
        tried |= set(new)
        clone.lose(new)


def bring(command: str, names: Sequence[str]) -> None:
    """Fetch stages, and folders of stores, as far as they are to be had."""
    paths = [name for name in names if "/" in name]
    stages = [name for name in names if "/" not in name]
    for chosen in (stages, paths):  # DVC takes either, and fails at a mixture of both
        if chosen and (code := call_dvc(command, "--allow-missing", *chosen)):
            sys.exit(code)


def announce(
    params_path: Path, clone: Clone, to_run: Sequence[str], *, remote: bool, yes: bool
) -> None:
    """Say what has to be computed, and how long that takes. Raises ValueError without a yes."""
    lost = [name for name in to_run if name in clone.lost and name != "check"]
    where = "Neither DVC's cache nor its remote has" if remote else "DVC's cache lacks"
    more = "" if remote else ", and there is no DVC remote"
    console.print(f"{where} what {len(lost)} stages made{more}: {listed(lost)}")
    stages = [name for name in to_run if name != "check"]
    hours = hours_of(params_path, stages)
    console.print(f"To compute: {len(stages)} stages, {hours_shown(hours)}")
    if yes or (not remote and hours is not None and hours <= MOST_HOURS):
        return
    if sys.stdin.isatty():
        click.confirm("Compute that here?", abort=True)
        return
    others = (
        "ask who made it for a `dvc push`, then run this again"
        if remote
        else "name a DVC remote that has it (`dvc remote add --default NAME ADDRESS`)"
    )
    raise ValueError(f"nothing was computed: {others}; or compute it here: add --yes")


def hours_of(params_path: Path, stages: Iterable[str]) -> float | None:
    """Hours that stages take on this machine; None where that cannot be told."""
    from stages.commands.estimate import make_plan

    names = set(stages)
    try:
        made = make_plan(params_path, (network_of(params_path, names),), None)
    except ValueError as error:
        console.print(f"How long that takes cannot be told: {error}")
        return None
    return made.hours([stage for stage in made.stages if stage.cost.name in names])


def network_of(params_path: Path, names: set[str]) -> str:
    """The network that is measured for an estimate: one that is to be trained, if any."""
    content = load_params(params_path)
    for section in ("students", "teachers", "baselines"):
        for name, entry in content[section].items():
            if any(stage.partition("@")[2] == name for stage in names):
                return str(entry["network"])
    return "resnet20"


def hours_shown(hours: float | None) -> str:
    """An estimate in words."""
    return "for a time that is not known" if hours is None else f"about {hours_text(hours)}"


def tell_left(left: dict[Path, str], *, remote: bool) -> None:
    """Name what nothing reads now, and is left where it is."""
    command = "`dvc pull` fetches it" if remote else "`decant repro STAGE` computes it"
    names = listed([str(path) for path in left])
    console.print(f"Not on this machine, or in part, and not read now ({command}): {names}")


def show_dry(params_path: Path, goals: Sequence[str]) -> None:
    """Say what would be fetched, and what would be computed, and do neither."""
    clone = Clone(Lock(Path.cwd(), load_params(params_path)), goals)
    clone.lose_what_nobody_has()
    wanted, to_run = clone.wanted()
    if wanted:
        source = "DVC's cache or remote" if has_remote() else "DVC's cache"
        console.print(f"To fetch from {source}: {listed(wanted)}")
    stages = [name for name in to_run if name != "check"]
    trained = [name for name in stages if name not in (GOAL, "prepare")]
    time = f", {hours_shown(hours_of(params_path, trained))}" if trained else ""
    if stages:
        console.print(f"To compute: {len(stages)} stages{time}")
        console.print("\n".join(f"  {name}" for name in stages))
    if not wanted and not to_run:
        console.print("Everything is up to date")
