"""Jobs in their work folders: what is missing is trained, what is there is published."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch

from pipeline.compute import open_work, work_device
from pipeline.core.dataset import ImageData
from pipeline.core.errors import DecantError, is_mistake, mistake_text
from pipeline.core.files import WorkFolder
from pipeline.core.machine import Machine
from pipeline.core.notes import WorkNote
from pipeline.core.progress import Display
from pipeline.results.record import RECORD
from pipeline.training.jobs import Job, Replicate, replicates_of
from pipeline.training.outs import publish
from pipeline.training.ranks import ALONE, Ranks, heard, joined, pick_own_device
from pipeline.training.replicates import run_replicates


def train_and_publish(
    jobs: Mapping[Path, Job],
    data: ImageData,
    machine: Machine,
    display: Display,
    *,
    graph: bool = True,
) -> None:
    """Train the missing replicates of all jobs, and publish each job when it lacks none.

    A job that fails leaves the others alone: they are trained and published first, then a DecantError
    names what failed.

    Args:
        jobs: folder to publish -> job.
        graph: see `Trainer`.
    """
    failures: list[str] = []
    torch.set_num_threads(
        1
    )  # networks are counted, and then processes forked: see `run_in_processes`
    device = pick_own_device(machine)
    with joined(device) as ranks, ExitStack() as stack:
        display = heard(display, ranks)
        jobs = {out: job.on(ranks.count) for out, job in jobs.items()}
        works = open_works(jobs, data, device, stack, ranks)
        missing = {out: missing_replicates(job, works[out], ranks) for out, job in jobs.items()}
        left = {out: set(replicates) for out, replicates in missing.items()}

        def finish(out: Path) -> None:
            if not ranks.is_first:
                return
            job = jobs[out]
            with mistakes_as(f"{job.kind} {job.name}", failures):
                display.tell(publish(job, works[out], data, out))
                if reused := job.replicates - len(missing[out]):
                    display.tell(
                        f"{job.kind} {job.name}: {reused} of {job.replicates} were trained before (kept in "
                        f"{works[out].path}); to train them again, run `decant clean` first"
                    )

        def trained(replicate: Replicate) -> None:
            for out, folders in left.items():
                if replicate.folder in folders:  # entries may differ in their names only
                    folders.remove(replicate.folder)
                    if not folders:
                        finish(out)

        replicates = {folder: r for found in missing.values() for folder, r in found.items()}
        failures += run_replicates(
            list(replicates.values()),
            data,
            device,
            machine,
            display,
            graph=graph,
            on_end=trained,
            ranks=ranks,
        )
        for out in jobs:
            if not missing[out]:
                finish(out)
    if failures:
        raise DecantError("\n".join(failures))


def publish_finished(
    jobs: Mapping[Path, Job], data: ImageData, machine: Machine
) -> tuple[list[Path], list[str]]:
    """Publish the jobs that lack no replicate, and train none; returns their folders, and what went wrong."""
    published: list[Path] = []
    failures: list[str] = []
    with ExitStack() as stack:
        works = open_works(jobs, data, work_device(machine), stack)
        for out, job in jobs.items():
            if missing_replicates(job, works[out]):
                continue
            with mistakes_as(f"{job.kind} {job.name}", failures):
                publish(job, works[out], data, out)
                published.append(out)
    return published, failures


@contextmanager
def mistakes_as(label: str, failures: list[str]) -> Iterator[None]:
    """Inside, a mistake of the user's ends the block alone and joins the failures, after a label."""
    try:
        yield
    except Exception as error:
        if not is_mistake(error):
            raise
        failures.append(f"{label}: {mistake_text(error)}")


def open_works(
    jobs: Mapping[Path, Job],
    data: ImageData,
    device: torch.device,
    stack: ExitStack,
    ranks: Ranks = ALONE,
) -> dict[Path, WorkFolder]:
    """The work folder of each job, open until the stack is left; jobs that differ in name alone share one.

    Of several ranks the first holds them; RanksError is raised where another one has other keys.
    """
    opened: dict[Path, WorkFolder] = {}
    works = {}
    for out, job in jobs.items():
        folder = open_work(f"train_{job.kind}", job.key_facts(data), device)
        if folder.path not in opened and ranks.is_first:
            stack.enter_context(folder)
        works[out] = opened.setdefault(folder.path, folder)
    ranks.check_equal(sorted(opened))
    if ranks.is_first:
        for path in opened:
            _note([job for out, job in jobs.items() if works[out].path == path]).write(path)
    return works


def _note(jobs: Sequence[Job]) -> WorkNote:
    """Whose work a folder holds that jobs share."""
    return WorkNote(
        stages=tuple(f"train_{job.kind}@{job.name}" for job in jobs),
        replicates=max(job.replicates for job in jobs),
        epochs=jobs[0].training.epochs if jobs[0].weights is None else 0,
    )


def missing_replicates(job: Job, work: WorkFolder, ranks: Ranks = ALONE) -> dict[Path, Replicate]:
    """The replicates of a job that are still to be trained, by their folder, as the first rank sees it."""
    replicates = {replicate.folder: replicate for replicate in replicates_of(job, work)}
    missing = ranks.of_first(lambda: [f for f in replicates if not (f / RECORD).exists()])
    return {folder: replicates[folder] for folder in missing}
