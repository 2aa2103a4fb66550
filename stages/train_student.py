"""Prepared data and a teacher's store in, distilled students out (`data/students/NAME`).

The teacher itself is not needed, nor are the raw data.
"""

from pathlib import Path
from typing import Any

import click

from stages.common import (
    PREPARED,
    STORES,
    load_machine,
    load_params,
    no_graph_option,
    path_option,
    stage_options,
)


@click.command()
@click.argument("name")
@path_option("--prepared", PREPARED, "Prepared data set.")
@path_option("--stores", STORES, "Folder of the teachers' stores.")
@path_option("--out", None, "Folder to write.  [default: data/students/NAME]")
@no_graph_option
@stage_options
def train_student(
    name: str, params_path: Path, prepared: Path, stores: Path, out: Path | None, no_graph: bool
) -> None:
    """Train the replicates of the student NAME of params.yaml from its teacher's store."""
    from pipeline.distill import (
        Method,
        StoredEpochs,
        StudentParams,
        groups_of,
        store_augmentation,
        teacher_facts,
    )
    from pipeline.params import section
    from pipeline.prepared import load_prepared
    from pipeline.store.manifest import describe_dataset
    from pipeline.store.read import open_store
    from stages.replicates import Job, resolve_training, train_and_publish, vscore_classes

    content = load_params(params_path)
    params = section(content, StudentParams, "students", name)
    entry = section(content, dict[str, Any], "methods", params.method)
    method = Method.parse(params.method, entry)
    data = load_prepared(prepared)
    store = open_store(
        stores / f"{params.teacher}.zarr",
        groups=groups_of(params.share),
        dataset=describe_dataset(data),
    )
    teacher = teacher_facts(store)
    job = Job(
        kind="student",
        name=name,
        entry=content["students"][name],
        network=params.network,
        seed=params.seed,
        replicates=params.replicates,
        training=resolve_training(content, params.training, f"students.{name}"),
        augmentation=store_augmentation(store),
        classes=vscore_classes(content, data),
        source=lambda replicate: StoredEpochs(
            store,
            params.share,
            replicate=replicate,
            seed=params.seed + replicate,
            sampling=params.view_sampling,
            features=method.needs_features,
        ),
        loss=method.loss_function(),
        inputs={"store": teacher["store"], "method": method.facts()},
        facts={"method": method.facts(), "teacher": teacher},
    )
    target = out or Path("data/students") / name
    train_and_publish(job, data, target, load_machine(content), graph=not no_graph)


if __name__ == "__main__":
    train_student()
