"""What is stale as shell commands in waves: those of one wave can run side by side, on many machines.

A wave begins when the one before has ended. Commands of waves 2 to 4 leave their work in data/.work, where
`decant repro`, the last wave, finds it and has DVC record it.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from pipeline.core.files import STORES, WORK
from pipeline.core.locks import one_machine_mount
from pipeline.core.params import load_yaml, section
from pipeline.distill.params import StudentParams
from pipeline.hard_labels.params import BaselineParams, TeacherParams
from pipeline.planning.checker import check_all
from pipeline.training.params import TrainingParams
from stages.dvc.clone import Clone, stages_of, store_stage
from stages.dvc.lock import Lock
from stages.shared.stage_names import KINDS, kind_of

PARAMS = Path("params.yaml")
# The waves' names, and the kinds of stages in those that run without DVC.
WAVES: dict[str, tuple[str, ...]] = {
    "check and prepare": (),
    "teachers and baselines": ("train_teacher", "train_baseline"),
    "dumps": ("dump",),
    "students": ("train_student",),
    "record and evaluate": (),
}
Entry = TeacherParams | BaselineParams | StudentParams
ENTRIES: dict[str, tuple[str, type[Entry]]] = {
    "train_teacher": ("teachers", TeacherParams),
    "train_baseline": ("baselines", BaselineParams),
    "train_student": ("students", StudentParams),
}


def print_commands(source: Path, number: int | None) -> None:
    """Print the commands of all waves under headings, or of one wave alone, numbered from 1.

    Warns on the standard error where locks of the work folder reach no other machine. Raises ParamsError
    for mistakes in the parameters.
    """
    if source.absolute() != PARAMS.absolute():
        raise click.UsageError(f"commands are of params.yaml alone: `decant use {source}` first")
    content = load_yaml(source)
    check_all(content, source)
    waves = waves_of(content)
    if mount := one_machine_mount(WORK):
        click.echo(
            f"WARNING: locks in {WORK} reach no other machine ({mount}): start nothing twice "
            "(docs/clusters.md)",
            err=True,
        )
    if not any(waves):
        click.echo("Everything is up to date", err=True)
    for place, (name, commands) in enumerate(zip(WAVES, waves, strict=True), 1):
        if number is None and commands:
            click.echo(f"# wave {place}: {name}")
        for command in commands if number in (None, place) else ():
            click.echo(command)


def waves_of(content: Mapping[str, Any]) -> list[list[str]]:
    """The commands of each wave that bring everything up to date; a wave may have none."""
    lock = Lock(Path.cwd(), content)
    clone = Clone(lock, stages_of((), lock))
    clone.lose_what_nobody_has()
    fetched, stale = clone.wanted()
    waves = [list(_commands(content, stale, kinds)) for kinds in WAVES.values()]
    alone = [stage for stage in stale if kind_of(stage) in KINDS]
    if first := [*(name for name in ("check", "prepare") if name in stale), *_read(clone, alone)]:
        waves[0] = [f"decant repro {' '.join(first)}"]
    if fetched or stale:
        waves[-1] = ["decant repro"]
    return waves


def _read(clone: Clone, stages: Sequence[str]) -> list[str]:
    """The stages that are done, not here, and read by others that have to run."""
    readers = Clone(clone.lock, stages)
    readers.lost = clone.lost
    fetched, _ = readers.wanted()
    names = (
        store_stage(str(Path(name).relative_to(STORES))) if "/" in name else name
        for name in fetched
    )
    return list(dict.fromkeys(names))


def _commands(
    content: Mapping[str, Any], stale: Iterable[str], kinds: tuple[str, ...]
) -> Iterator[str]:
    """A command for each stale stage of some kinds; one after the other where they share their work."""
    groups: dict[str, list[str]] = {}
    for stage in stale:
        kind, _, name = stage.partition("@")
        if kind in kinds:
            groups.setdefault(_work_of(content, kind, name), []).append(
                f"decant {kind.replace('_', '-')} {name}"
            )
    return (" && ".join(group) for group in groups.values())


def _work_of(content: Mapping[str, Any], kind: str, name: str) -> str:
    """What the work folder of an entry depends on: equal for entries that differ in name or replicates.

    Of a second one, started meanwhile, it would be refused.
    """
    if kind not in ENTRIES:
        return f"{kind}@{name}"
    key, model = ENTRIES[kind]
    entry = section(content, model, key, name)
    recipe = {**content["training"], **entry.training}
    facts = asdict(entry) | {
        "replicates": None,
        "training": asdict(section({"training": recipe}, TrainingParams, "training")),
    }
    if isinstance(entry, StudentParams):
        facts["method"] = content["methods"][entry.method]
    else:
        facts["weights"] = None if entry.weights is None else entry.weights.sha256
    return json.dumps(facts, sort_keys=True)
