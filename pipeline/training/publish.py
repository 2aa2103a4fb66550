"""Train what jobs lack, together where the machine allows, and publish each one's folder.

Shared by the three training stages. Finished replicates stay in a work folder whose key leaves their
number out, so that asking for one more trains one more.
"""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.compute import pick_device
from pipeline.core.dataset import ImageData
from pipeline.core.files import WorkFolder, canonical_json, durable_write
from pipeline.core.machine import Machine
from pipeline.models.registry import build
from pipeline.results.record import (
    CURVES,
    RECORD,
    TEST_LOGITS,
    TIMING,
    TRAIN_SAMPLE,
    WEIGHTS,
    dataset_facts,
)
from pipeline.training.jobs import Job
from pipeline.training.replicates import Replicate, run_replicates
from stages.shared.options import console
from stages.work import open_work


def train_and_publish(
    jobs: Mapping[Path, Job], data: ImageData, machine: Machine, *, graph: bool = True
) -> None:
    """Train what is missing of all jobs, then write each one's records and publish its folder.

    Args:
        jobs: by the folder to publish.
        graph: see `Trainer`.
    """
    device = pick_device(machine)
    with ExitStack() as stack:
        opened: dict[Path, WorkFolder] = {}
        works: dict[Path, WorkFolder] = {}
        missing: dict[Path, Replicate] = {}
        for out, job in jobs.items():
            folder = open_work(job.key_facts(data), device)
            if folder.path not in opened:  # two entries may be the same but for their names
                opened[folder.path] = stack.enter_context(folder)
            works[out] = opened[folder.path]
            for replicate in (Replicate(job, r, folder.path) for r in range(job.replicates)):
                if not (replicate.folder / RECORD).exists():
                    missing.setdefault(replicate.folder, replicate)
        run_replicates(list(missing.values()), data, device, machine, graph=graph)
        for out, job in jobs.items():
            _publish(job, works[out], data, out)
            kept = sum(
                works[out].path / f"replicate-{r}" not in missing for r in range(job.replicates)
            )
            if kept:
                console.print(
                    f"{job.kind} {job.name}: {kept} of {job.replicates} were trained before (kept in "
                    f"{works[out].path}); `decant clean` first trains them anew"
                )


def _publish(job: Job, work: WorkFolder, data: ImageData, out: Path) -> None:
    seen = data.seen_by(job.facts)
    folders = [Replicate(job, r, work.path).folder for r in range(job.replicates)]
    records = [json.loads((folder / RECORD).read_text()) for folder in folders]
    files = {RECORD: work.path / RECORD, TIMING: work.path / TIMING}
    durable_write(files[RECORD], canonical_json(_record(job, data, records)))
    timings = [json.loads((folder / TIMING).read_text()) for folder in folders]
    durable_write(files[TIMING], canonical_json({"replicates": timings}))
    for folder in folders:
        for name in (WEIGHTS, CURVES, TEST_LOGITS, TRAIN_SAMPLE):
            files[f"{folder.name}/{name}"] = folder / name
    work.publish(files, out)
    shown = ", ".join(f"{record['top1_accuracy']:.2%}" for record in records)
    console.print(
        f"{job.kind} {job.name}: {shown} on the {data.evaluated_on} set of {seen} -> {out}"
    )


def _record(job: Job, data: ImageData, replicates: list[dict[str, Any]]) -> dict[str, Any]:
    network = build(job.network, len(data.class_names))
    return {
        "kind": job.kind,
        "name": job.name,
        "network": job.network,
        "parameters": sum(p.numel() for p in network.parameters()),
        "feature_dim": network.feature_dim,
        "entry": job.entry,
        "training": json.loads(json.dumps(asdict(job.training))),
        "augmentation": asdict(job.augmentation),
        "dataset": dataset_facts(data),
        "method": None,
        "teacher": None,
        **job.facts,
        "replicates": replicates,
    }
