"""Entries of `students` as jobs: which loss, and which views of which store."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from pipeline.core.asked_dataset import load_dataset
from pipeline.core.dataset import ImageData
from pipeline.core.errors import DecantError
from pipeline.core.files import STORES, VERSIONS
from pipeline.core.machine import load_machine
from pipeline.core.params import section
from pipeline.core.progress import Display
from pipeline.distill.epochs import StoreViews, store_augmentation, teacher_facts
from pipeline.distill.examples import first_seen
from pipeline.distill.method import DistillationLoss
from pipeline.distill.params import Method, StudentParams, groups_of
from pipeline.results.record import MethodFacts, SeenFacts
from pipeline.store.format.address import pinned_address
from pipeline.store.format.check import read_manifest
from pipeline.store.format.errors import mended_as
from pipeline.store.format.manifest import DatasetInfo, describe_dataset
from pipeline.store.format.version import partial_error, version_error
from pipeline.store.read import Store, open_store
from pipeline.store.remote.cache import Cache
from pipeline.training.jobs import Job, resolve_training
from pipeline.training.work import train_and_publish

StoreKey = tuple[str, tuple[str, ...]]  # teacher, groups


def train_students(
    outputs: Mapping[str, Path],
    content: dict[str, Any],
    prepared: Path,
    stores: Path,
    display: Display,
    *,
    graph: bool,
) -> None:
    """Train entries of `students` from the stores in a folder, and publish them.

    `outputs` maps names to the folders to publish, `content` is the whole parameter file; `graph`: see
    `Trainer`.
    """
    data = load_dataset(prepared, content)
    job = student_jobs(content, data, stores)
    jobs = {out: job(name) for name, out in outputs.items()}
    train_and_publish(jobs, data, load_machine(content), display, graph=graph)


def student_jobs(content: dict[str, Any], data: ImageData, stores: Path) -> Callable[[str], Job]:
    """What makes entries of `students` into jobs, by their names; it opens each store once.

    Raises StoreError as `open_store` does, and for a store below data/stores that is not the version of
    the present commit. Where the first view is damaged, the job's `teacher` raises it.
    """

    @cache
    def opened(teacher: str, groups: tuple[str, ...]) -> Store:
        return _open(stores, teacher, groups, describe_dataset(data), content)

    @cache
    def seen(teacher: str, groups: tuple[str, ...]) -> SeenFacts:
        return first_seen(opened(teacher, groups), data.train.labels)

    def job(name: str) -> Job:
        key = store_key(content, name)
        return student_job(name, content, opened(*key), partial(seen, *key))

    return job


def store_key(content: dict[str, Any], name: str) -> StoreKey:
    """The teacher of a student, and the groups of its store that the student reads."""
    params = section(content, StudentParams, "students", name)
    return params.teacher, groups_of(params.share)


def _open(
    stores: Path,
    teacher: str,
    groups: tuple[str, ...],
    dataset: DatasetInfo,
    content: dict[str, Any],
) -> Store:
    folder, versions = stores / f"{teacher}.zarr", VERSIONS / f"{teacher}.zarr"
    ours = stores == STORES
    address = pinned_address(content, teacher) if ours else None
    with mended_as(address):
        if ours and len(groups) > 1 and (missing := partial_error(folder, versions)):
            raise missing
        for group in groups if ours else ():
            if stale := version_error(address or folder, read_manifest(folder, group), versions):
                raise stale
    cache = None if address is None else Cache.of(load_machine(content))
    return open_store(folder, groups=groups, dataset=dataset, address=address, cache=cache)


def student_job(
    name: str, content: dict[str, Any], store: Store, seen: Callable[[], SeenFacts]
) -> Job:
    """An entry of `students` as the training engine takes it; what `seen` returns goes into its record.

    Raises DecantError where the store lacks what it asks for.
    """
    params = section(content, StudentParams, "students", name)
    entry = section(content, dict[str, Any], "methods", params.method)
    method = Method.parse(params.method, entry)
    loss = DistillationLoss(method)
    epochs = StoreViews(
        store,
        params.share,
        seed=params.seed,
        views=params.views,
        sampling=params.view_sampling,
        features=loss.needs_features,
    )
    first = epochs.of(0)  # reads nothing: what the store lacks is told before any work starts
    if method.loss == "rescaled" and first.num_classes < 3:
        raise DecantError(
            f"students.{name}: `rescaled` learns nothing from two classes, whose logits differ by the same "
            "number whenever they are divided by their deviation; take another loss (kd, say)"
        )
    teacher = teacher_facts(store, params.views)
    return Job(
        kind="student",
        name=name,
        entry=content["students"][name],
        network=params.network,
        seed=params.seed,
        replicates=params.replicates,
        training=resolve_training(content, params.training, f"students.{name}"),
        augmentation=store_augmentation(store),
        epochs=epochs,
        loss=loss,
        method=MethodFacts(name=method.name, loss=method.loss, options=method.options),
        teacher=lambda: replace(teacher, seen=seen()),
    )
