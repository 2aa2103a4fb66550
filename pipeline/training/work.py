"""Jobs in their work folders: what is missing is trained, what is there is published."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import torch

from pipeline.compute import open_work, pick_device
from pipeline.core.dataset import ImageData
from pipeline.core.errors import DecantError
from pipeline.core.files import WorkFolder
from pipeline.core.machine import Machine
from pipeline.core.progress import Display
from pipeline.results.record import RECORD
from pipeline.training.jobs import Job, Replicate, replicates_of
from pipeline.training.outs import publish
from pipeline.training.ranks import heard, joined, pick_own_device
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
    device = pick_own_device(machine)
    with joined(device) as ranks, ExitStack() as stack:
        jobs = {out: job.on(ranks.count) for out, job in jobs.items()}
        display = heard(display, ranks)
        works = open_works(jobs, data, device, stack if ranks.is_first else None)
        ranks.check_equal(sorted(work.path for work in works.values()))
        missing = ranks.of_first(
            lambda: {out: missing_folders(job, works[out]) for out, job in jobs.items()}
        )
        left = {out: set(folders) for out, folders in missing.items()}
        everything = {
            r.folder: r for out, job in jobs.items() for r in replicates_of(job, works[out])
        }

        def finish(out: Path) -> None:
            job = jobs[out]
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

        to_train = dict.fromkeys(folder for folders in missing.values() for folder in folders)
        failures = run_replicates(
            [everything[folder] for folder in to_train],
            data,
            device,
            machine,
            display,
            graph=graph,
            on_end=trained if ranks.is_first else lambda replicate: None,
            ranks=ranks,
        )
        for out in jobs if ranks.is_first else ():
            if not missing[out]:
                finish(out)
    if failures:
        raise DecantError("\n".join(failures))


def publish_finished(jobs: Mapping[Path, Job], data: ImageData, machine: Machine) -> list[Path]:
    """Publish the folders of the jobs that lack no replicate, and train none; returns those folders."""
    with ExitStack() as stack:
        works = open_works(jobs, data, pick_device(machine), stack)
        finished = [out for out, job in jobs.items() if not missing_folders(job, works[out])]
        for out in finished:
            publish(jobs[out], works[out], data, out)
    return finished


def open_works(
    jobs: Mapping[Path, Job], data: ImageData, device: torch.device, stack: ExitStack | None
) -> dict[Path, WorkFolder]:
    """The work folder of each job, open until the stack is left; jobs that differ in name alone share one.

    Without a stack none is opened.
    """
    works: dict[Path, WorkFolder] = {}
    by_path: dict[Path, WorkFolder] = {}
    for out, job in jobs.items():
        folder = open_work(f"train_{job.kind}", job.key_facts(data), device)
        if folder.path not in by_path and stack is not None:
            stack.enter_context(folder)
        works[out] = by_path.setdefault(folder.path, folder)
    return works


def missing_folders(job: Job, work: WorkFolder) -> list[Path]:
    """The folders of a job's replicates that are still to be trained."""
    folders = [replicate.folder for replicate in replicates_of(job, work)]
    return [folder for folder in folders if not (folder / RECORD).exists()]
