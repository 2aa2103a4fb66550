"""The stages' states for a terminal: a table of kinds, what runs, what is stale and why, what is missing."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import click

from stages.dvc.changes import Change
from stages.dvc.overview import STATES, StageStatus, State
from stages.dvc.running import Training, Work
from stages.shared.tables import hours_text, listed, print_table, shown

_MOST_REASONS = 12
_MOST_FILES = 4
_LONGEST_VALUE = 40
_DIGEST = 8


def show(stages: Sequence[StageStatus], *, deep: bool, list_stages: bool) -> None:
    """Print the states of all stages."""
    print_table(("Stage", *STATES), list(kind_rows(stages)))
    for title, lines in (
        ("Running", running_lines(stages)),
        ("Here in part (`dvc pull FOLDER` brings the rest)", reason_lines(stages, "in part")),
        ("Stale", reason_lines(stages, "stale")),
        ("Missing", missing_lines(stages)),
        ("Begun, and not running", begun_lines(stages)),
    ):
        _print(title, list(lines))
    if list_stages:
        _print("Stages", [f"{stage.state:<9}  {stage.name}" for stage in stages])
    how = "hashed" if deep else "not hashed: sizes were compared (--deep hashes)"
    click.echo(f"\nResults on this disk: {how}")


def _print(title: str, lines: Sequence[str]) -> None:
    if lines:
        click.echo(f"\n{title}")
        for line in lines:
            click.echo(f"  {shown(line)}")


def kind_rows(stages: Sequence[StageStatus]) -> Iterator[tuple[str, ...]]:
    """For each kind of stage, how many are in each state; then for all."""
    kinds = list(dict.fromkeys(stage.kind for stage in stages))
    for name, chosen in [
        *((kind, [s for s in stages if s.kind == kind]) for kind in kinds),
        ("all", stages),
    ]:
        counts = Counter(stage.state for stage in chosen)
        yield name, *(str(counts[state]) if counts[state] else "-" for state in STATES)


def running_lines(stages: Sequence[StageStatus]) -> Iterator[str]:
    """Each stage that is in a process's hands; those of which nothing has begun in one line."""
    waiting = []
    holders: dict[str, None] = {}
    for stage in stages:
        for work in stage.works if stage.state == "running" else ():
            holders[str(work.holder)] = None
            begun = list(progress_lines(work))
            if begun:
                yield from (f"{stage.name}{line}" for line in begun)
            else:
                waiting.append(stage.name)
    if waiting:
        yield f"waiting: {listed(list(dict.fromkeys(waiting)))}"
    yield from holders


def progress_lines(work: Work) -> Iterator[str]:
    """How far a work folder has come, a line for each replicate, or for a group."""
    if work.note.group:
        of = f" of {work.note.views} views" if work.note.views else ""
        if work.done or not work.note.views:
            yield f" {work.note.group}: {work.done}{of}" if of else f" {work.note.group}"
        return
    yield from (f" #{training.replicate}: {training_text(training)}" for training in work.trainings)


def training_text(training: Training) -> str:
    """How far a replicate has come."""
    parts = [f"epoch {training.epoch} of {training.epochs}"]
    loss, accuracy = (training.values.get(name) for name in ("train_loss", "test_top1_accuracy"))
    parts += [] if loss is None else [f"loss {loss:.3f}"]
    parts += [] if accuracy is None else [f"accuracy {accuracy:.2%}"]
    if training.seconds_left is not None:
        parts.append(f"{hours_text(training.seconds_left / 3600)} left")
    return ", ".join(parts)


def reason_lines(stages: Sequence[StageStatus], state: State) -> Iterator[str]:
    """Each reason why stages are in a state once, with the stages that have it."""
    reasons: dict[str, list[str]] = defaultdict(list)
    for stage in stages:
        if stage.state == state:
            for reason in dict.fromkeys(map(change_text, stage.changes)):
                reasons[reason].append(stage.name)
    for reason, names in list(reasons.items())[:_MOST_REASONS]:
        yield from (reason, f"  {listed(names)}")
    if len(reasons) > _MOST_REASONS:
        yield f"and {len(reasons) - _MOST_REASONS} more reasons (--json has all)"


def change_text(change: Change) -> str:
    """A change in words: what, and from what to what."""
    if change.stages:
        return f"not done before them: {listed(change.stages)}"
    text = f"{change.what}: {value_text(change.before)} -> {value_text(change.now)}"
    if not change.newer:
        return text
    more = f" and {len(change.newer) - _MOST_FILES} more" if len(change.newer) > _MOST_FILES else ""
    return f"{text} (newer than dvc.lock: {', '.join(change.newer[:_MOST_FILES])}{more})"


def value_text(value: Any) -> str:
    """A value of params.yaml, or the beginning of a digest."""
    if isinstance(value, str) and len(value.removesuffix(".dir")) == 32:
        return value[:_DIGEST]
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    text = "nothing" if value is None else text
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 3] + "..."


def missing_lines(stages: Sequence[StageStatus]) -> Iterator[str]:
    """The stages that were never done, a line for each kind."""
    kinds: dict[str, list[str]] = defaultdict(list)
    for stage in stages:
        if stage.state == "missing":
            kinds[stage.kind].append(stage.name)
    yield from map(listed, kinds.values())


def begun_lines(stages: Sequence[StageStatus]) -> Iterator[str]:
    """Work that was interrupted; it goes on where nothing that it depends on has changed."""
    for stage in stages:
        if stage.state in ("stale", "missing"):
            for work in stage.works:
                yield from (f"{stage.name}{line}" for line in progress_lines(work))
