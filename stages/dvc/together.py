"""The trainings and dumps of several stages in one process, and their recording in dvc.lock by another.

    python -m stages.dvc.together train|dump|record STAGES [LATER]

STAGES, and those that are still to come LATER, are lists as JSON. What is recorded is what a process that was
started afterwards finds finished under the parameters, code and inputs that are then on disk: what was edited
meanwhile stays stale.
"""

import json
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from pipeline.compute import open_work, work_device
from pipeline.core.asked_dataset import load_dataset
from pipeline.core.dataset import ImageData
from pipeline.core.errors import DecantError
from pipeline.core.files import PREPARED, STORES, TEACHERS, WORK, WorkFolder, durable_write
from pipeline.core.machine import load_machine
from pipeline.core.params import section
from pipeline.core.progress import Report
from pipeline.distill.students import student_jobs
from pipeline.dump.params import DumpParams
from pipeline.dump.teacher import Dump, part_label
from pipeline.hard_labels.jobs import hard_label_job
from pipeline.planning.cost import Costs, ImageCounts, StageCost
from pipeline.training.jobs import Job
from pipeline.training.processes import run_in_processes
from pipeline.training.work import mistakes_as, publish_finished, train_and_publish
from pipeline.views.params import CLEAN, GROUPS, GroupName
from stages.dvc.lock import digest_of
from stages.dvc.repo import commit
from stages.dvc.running import file_stats
from stages.shared.options import console, guarded, load_params
from stages.shared.progress import ProgressDisplay
from stages.shared.stage_names import result_of
from stages.shared.tables import bytes_text, shown

PARAMS = Path("params.yaml")
LOCK = Path("dvc.lock")
# What a record in dvc.lock speaks of, besides results.
SOURCES = tuple(map(Path, ("params.yaml", "dvc.yaml", "pipeline", "stages", "own")))


def train(stages: Sequence[str], later: Sequence[str]) -> None:
    """Train what is missing of stages, several networks at a time, and publish each that lacks none.

    Raises DecantError when all else is done, where a stage failed, and at once where the disk is too full.
    """
    content = load_params(PARAMS)
    data = load_dataset(PREPARED, content)
    torch.set_num_threads(1)  # as in `train_on_hard_labels`
    jobs, failures = jobs_of(stages, content, data)
    costs = costs_of(content, data)
    machine = load_machine(content)
    device = work_device(machine)
    works = [open_work(f"train_{job.kind}", job.key_facts(data), device) for job in jobs.values()]
    check_room(sum(costs[name].out_bytes for name in stages), works)
    flops = sum(costs[name].flops for name in later)
    with ProgressDisplay("images", later=flops) as display:
        try:
            train_and_publish(jobs, data, machine, display)
        except DecantError as error:
            failures.append(str(error))
    if failures:
        raise DecantError("\n".join(failures))


def jobs_of(
    stages: Sequence[str], content: dict[str, Any], data: ImageData
) -> tuple[dict[Path, Job], list[str]]:
    """The jobs of stages, by the folder that each publishes, and what is wrong with those that have none."""
    students = student_jobs(content, data, STORES)
    jobs: dict[Path, Job] = {}
    failures: list[str] = []
    for stage in stages:
        kind, _, name = stage.removeprefix("train_").partition("@")
        make: Callable[[], Job]
        if kind == "student":
            make = partial(students, name)
        else:
            make = partial(hard_label_job, kind, name, content, data)
        with mistakes_as(f"{kind} {name}", failures):
            jobs[result_of(stage)] = make()
    for failure in failures:
        console.print(shown(failure))
    return jobs, failures


def costs_of(content: Mapping[str, Any], data: ImageData) -> dict[str, StageCost]:
    """What each stage costs, by its name."""
    counts = ImageCounts(
        train=len(data.train.labels),
        test=len(data.test.labels),
        classes=len(data.class_names),
        image_size=data.train.images.shape[1],
    )
    return {stage.name: stage for stage in Costs(content, counts).stages()}


def check_room(wanted: int, works: Iterable[WorkFolder]) -> None:
    """Raise DecantError where the disk has no room for what is to be written and is in no work folder yet."""
    folders = {work.path for work in works}
    wanted -= sum(file.st_size for folder in folders for file in file_stats(folder))
    WORK.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(WORK).free
    if wanted > free:
        raise DecantError(
            f"{bytes_text(wanted)} are to be written, and {bytes_text(free)} are free on the disk of {WORK}: "
            "free some space, then run the same command again; finished work is kept"
        )


def dump(stages: Sequence[str], later: Sequence[str]) -> None:
    """Compute the groups of dumps, and publish none.

    Side by side on a CPU; one after the other on a GPU, which one fills, and on a cluster, which shares out
    the parts of each.
    """
    torch.set_num_threads(1)  # as in `train_on_hard_labels`
    content = load_params(PARAMS)
    machine = load_machine(content)
    data = load_dataset(PREPARED, content)
    costs = costs_of(content, data)
    names = [stage.partition("@")[2] for stage in stages]
    dumps = {name: Dump(name, content, data, TEACHERS / name) for name in names}
    parts = {part: cost for stage in stages for part, cost in parts_of(costs[stage], content)}
    works = {part: dumps[part[0]].work(part[1]) for part in parts}
    check_room(sum(costs[name].out_bytes for name in stages), works.values())
    order = sorted(
        parts, key=lambda part: -parts[part]
    )  # the longest first: no core waits for the last
    side_by_side = machine.cluster is None and work_device(machine).type == "cpu"
    at_once = machine.processes(len(parts)) if side_by_side else 1

    def work(index: int, report: Report) -> None:
        name, group = order[index]
        with works[name, group] as folder:
            dumps[name].compute(group, folder, report, display.tell)

    flops = sum(costs[name].flops for name in later)
    with ProgressDisplay("images", later=flops) as display:
        display.expect({part_label(*part): cost for part, cost in parts.items()}, at_once)
        if side_by_side:
            run_in_processes(work, len(parts), at_once, display.show)
            return
        for index in range(len(parts)):
            work(index, display.show)


def parts_of(
    cost: StageCost, content: dict[str, Any]
) -> Iterator[tuple[tuple[str, GroupName], float]]:
    """The groups of a dump, by teacher and group, and the operations of each."""
    name = cost.name.partition("@")[2]
    params = section(content, DumpParams, "dumps", name)
    views = {group: asked.views for group in GROUPS if (asked := params.group(group))}
    yield (name, CLEAN), cost.forward_flops
    for group, count in views.items():
        yield (name, group), cost.view_flops * count / sum(views.values())


def record(stages: Sequence[str]) -> None:
    """Publish what is finished of stages, and write it into dvc.lock as `dvc repro` would.

    Raises DecantError, and leaves dvc.lock as it was, where a source was edited meanwhile; when all else is
    recorded, where a stage could not be published.
    """
    before = dict(sources())
    content = load_params(PARAMS)
    data = load_dataset(PREPARED, content)
    jobs, _ = jobs_of(stages, content, data)
    published, failures = publish_finished(jobs, data, load_machine(content))
    if names := [stage for stage in stages if result_of(stage) in published]:
        commit_unchanged(names, before)
    if failures:
        raise DecantError("\n".join(failures))


def commit_unchanged(names: Sequence[str], before: Mapping[Path, str | None]) -> None:
    """Write stages into dvc.lock if the sources are still those from before.

    Raises DecantError, and leaves dvc.lock as it was, where they are not.
    """
    lock = LOCK.read_bytes() if LOCK.exists() else None
    digest_of.cache_clear()
    if dict(sources()) == before:
        commit(names)
        digest_of.cache_clear()
        if dict(sources()) == before:
            return
        if lock is None:
            LOCK.unlink(missing_ok=True)
        else:
            durable_write(LOCK, lock)
    raise DecantError("code or parameters were edited while results were recorded: run this again")


def sources() -> Iterator[tuple[Path, str | None]]:
    """The digests of code and parameters."""
    return ((path, digest_of(path)) for path in SOURCES)


COMMANDS: dict[str, Callable[..., None]] = {"train": train, "dump": dump, "record": record}

if __name__ == "__main__":
    lists = [json.loads(argument) for argument in sys.argv[2:]]
    guarded(partial(COMMANDS[sys.argv[1]], *lists), debug=False)
