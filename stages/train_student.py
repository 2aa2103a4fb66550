"""Prepared data and a teacher's store in, distilled students out (`data/students/NAME`).

The teacher itself is not needed, nor are the raw data.
"""

from pathlib import Path
from typing import Any

import click

from pipeline.distill import StoredEpochs, StudentParams, groups_of, method_loss
from pipeline.losses import check_options, needs_features
from pipeline.params import section
from pipeline.prepared import load_prepared
from pipeline.store.manifest import describe_dataset
from pipeline.store.read import Store, open_store
from pipeline.views import Augmentation, ViewRecipe
from stages.common import PREPARED, STORES, load_machine, load_params, path_option, stage_options
from stages.replicates import Job, resolve_training, train_and_publish, vscore_classes


@click.command()
@click.argument("name")
@path_option("--prepared", PREPARED, "Prepared data set.")
@path_option("--stores", STORES, "Folder of the teachers' stores.")
@path_option("--out", None, "Folder to write.  [default: data/students/NAME]")
@stage_options
def train_student(
    name: str, params_path: Path, prepared: Path, stores: Path, out: Path | None
) -> None:
    """Train the replicates of the student NAME of params.yaml from its teacher's store."""
    content = load_params(params_path)
    machine = load_machine(content)
    params = section(content, StudentParams, "students", name)
    method = section(content, dict[str, Any], "methods", params.method)
    loss, options = method.get("loss", ""), {k: v for k, v in method.items() if k != "loss"}
    check_options(loss, options)
    data = load_prepared(prepared)
    groups = groups_of(params.share)
    folder = stores / f"{params.teacher}.zarr"
    store = open_store(folder, groups=groups, dataset=describe_dataset(data))
    digests = {group: store.group(group).manifest.digest for group in groups}

    def source(replicate: int) -> StoredEpochs:
        return StoredEpochs(
            store,
            params.share,
            replicate=replicate,
            seed=params.seed + replicate,
            sampling=params.view_sampling,
            features=needs_features(loss),
        )

    job = Job(
        kind="student",
        name=name,
        entry=content["students"][name],
        network=params.network,
        seed=params.seed,
        replicates=params.replicates,
        training=resolve_training(content, params.training, f"students.{name}"),
        augmentation=store_augmentation(store, groups[0]),
        classes=vscore_classes(content, data),
        source=source,
        loss=method_loss(loss, options),
        inputs={"store": digests, "method": method},
        facts={
            "method": {"name": params.method, **method},
            "teacher": {**teacher_facts(store, groups[0]), "store": digests},
        },
    )
    train_and_publish(job, data, out or Path("data/students") / name, machine)


def store_augmentation(store: Store, group: str) -> Augmentation:
    """The padding and flips that a store's views were drawn with."""
    return view_recipe(store, group).augmentation


def view_recipe(store: Store, group: str) -> ViewRecipe:
    """How a group's views were drawn."""
    recipe = store.group(group).manifest.header.recipe
    assert recipe is not None
    return recipe


def teacher_facts(store: Store, group: str) -> dict[str, Any]:
    """What a student's record says of its teacher."""
    teacher = store.group(group).manifest.header.teacher
    mixup = teacher.training.get("mixup")
    return {
        "name": teacher.name,
        "network": teacher.network,
        "mixup_alpha": mixup["alpha"] if isinstance(mixup, dict) else None,
        "weights_sha256": teacher.weights_sha256,
        "top1_accuracy": teacher.top1_accuracy,
        "views": {
            name: {
                "views": store.group(name).views,
                "draw": view_recipe(store, name).draw,
                "alpha": view_recipe(store, name).alpha,
            }
            for name in store.groups
        },
    }


if __name__ == "__main__":
    train_student()
