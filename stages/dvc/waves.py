"""What is out of date, made in waves: trainings of a kind, and dumps, side by side.

A wave's results lie in `data/.work` and are recorded in dvc.lock when all its stages have ended; `dvc repro`
then finds them done. What a wave does not record stays for `dvc repro`. (DVC records a stage that it runs
under the parameters and the code that are on disk at its end: edits made meanwhile pass for its own.)
"""

import json
import sys
from collections.abc import Sequence, Set
from pathlib import Path

from stages.dvc.clone import Clone, needs
from stages.dvc.command import answer_of, call_dvc, call_module
from stages.dvc.lock import Lock, digest_of
from stages.shared.options import console, load_params
from stages.shared.stage_names import kind_of
from stages.shared.tables import listed

PARAMS = Path("params.yaml")
WAVES = (("train_teacher", "train_baseline"), ("dump",), ("train_student",))
TOGETHER = "stages.dvc.together"
INTERRUPTED = 130


def run_waves(lock: Lock, goals: Sequence[str], options: Sequence[str]) -> None:
    """Make what the goals lack of trainings and dumps.

    Args:
        lock: as it was read when this command began.
        goals: stages that were asked for.
        options: of `dvc repro`, for a clone with a part of the results.

    Where a stage failed, what does not read its results is made all the same; then the process ends.
    """
    lacks = Clone(lock, goals).wanted()[1]
    if not any(kind_of(stage) in kinds for kinds in WAVES for stage in lacks):
        return
    first = [stage for stage in lacks if stage in ("check", "prepare")]
    if first and (code := call_dvc("repro", *options, "--single-item", *first)):
        sys.exit(code)
    code, failed = 0, set[str]()
    for kinds in WAVES:
        lacks = independent(lacking_stages(goals), failed)
        wave = [stage for stage in lacks if kind_of(stage) in kinds]
        later = [
            stage
            for stage in lacks
            if stage not in wave and kind_of(stage) not in ("check", "prepare")
        ]
        if wave:
            tell_wave(wave, later)
            if failure := run_wave(wave, later, options):
                code = failure
                failed |= set(wave).intersection(lacking_stages(goals))
    if code:
        console.print(f"Not made: {listed(lacking_stages(goals))}")
        sys.exit(code)


def make_lost(stages: Sequence[str]) -> None:
    """Make stages that dvc.lock calls done, and of which nobody has the results.

    Ends the process where one fails.
    """
    for kinds in (("check", "prepare"), *WAVES, ("evaluate",)):
        lost = [stage for stage in stages if kind_of(stage) in kinds]
        if not lost:
            continue
        by_dvc = kinds not in WAVES
        if code := call_dvc("repro", "--single-item", *lost) if by_dvc else run_wave(lost, (), ()):
            sys.exit(code)


def lacking_stages(goals: Sequence[str]) -> list[str]:
    """The stages that have to run before the goals are made, in their order, as things are now."""
    digest_of.cache_clear()
    return Clone(Lock(Path.cwd(), load_params(PARAMS)), goals).wanted()[1]


def independent(stages: Sequence[str], failed: Set[str]) -> list[str]:
    """Those of some stages, in their order, that read nothing of failed ones, directly or by others."""
    params, out = load_params(PARAMS), set(failed)
    for stage in stages:
        if any(need in out for need, _ in needs(stage, params)):
            out.add(stage)
    return [stage for stage in stages if stage not in out]


def tell_wave(wave: Sequence[str], later: Sequence[str]) -> None:
    """Say what runs now, and what comes then."""
    then = f"; then {counted(later)}" if later else ""
    how = "Side by side" if len(wave) > 1 else "Now"
    console.print(f"{how}: {counted(wave)}{then}")


def counted(stages: Sequence[str]) -> str:
    """How many stages there are of each kind."""
    kinds = [kind_of(stage) for stage in stages]
    return ", ".join(
        kind if kind == "evaluate" else f"{kinds.count(kind)} {kind}"
        for kind in dict.fromkeys(kinds)
    )


def run_wave(wave: Sequence[str], later: Sequence[str], options: Sequence[str]) -> int:
    """Make the stages of one wave, and record them; returns 0, or an exit code where one failed.

    Ends the process after Ctrl-C.
    """
    kept = answer_of("stages.dvc.repo", *wave)
    together = [stage for stage in wave if stage not in kept]
    code = 0
    if together:
        lists = json.dumps(together), json.dumps(later)
        if kind_of(together[0]) == "dump":
            code = call_module(TOGETHER, "dump", *lists)
            # Recorded by `dvc repro`, which finds the views dumped, but would not look for room on the disk.
            kept = [] if code else wave
        else:
            for stage in together:
                console.print(f"Running stage '{stage}'")
            code = call_module(TOGETHER, "train", *lists)
            if code != INTERRUPTED:
                code = call_module(TOGETHER, "record", lists[0]) or code
    if code != INTERRUPTED and kept:
        code = call_dvc("repro", *options, "--single-item", *kept) or code
    if code == INTERRUPTED:
        sys.exit(code)
    return code
