"""A teacher's weights and prepared data in, its store out (`data/stores/TEACHER.zarr`).

Three groups: clean images, plain views and mixed views. Each is computed in a work folder of its own,
so that changing one leaves what is done of the others, and more views add to the ones that are there.
"""

import json
from contextlib import ExitStack
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import torch

from pipeline.checkpoints import load_into, load_weights
from pipeline.dump import TOLERANCE, DumpParams, GroupName, dump_group, view_recipe
from pipeline.models import build
from pipeline.params import section
from pipeline.predict import place
from pipeline.prepared import load_prepared
from pipeline.publish import WorkFolder, work_key
from pipeline.results import WEIGHTS, read_record
from pipeline.store.manifest import Header, TeacherInfo, describe_dataset
from pipeline.views import GROUPS, Augmentation
from stages.code import code_digest
from stages.common import (
    PREPARED,
    STORES,
    TEACHERS,
    WORK,
    console,
    load_machine,
    load_params,
    path_option,
    stage_options,
)
from stages.devices import pick_device, set_up
from stages.progress import ProgressDisplay, Tick


@click.command()
@click.argument("teacher")
@path_option("--prepared", PREPARED, "Prepared data set.")
@path_option("--teachers", TEACHERS, "Folder of the trained teachers.")
@path_option("--out", None, "Store to write.  [default: data/stores/TEACHER.zarr]")
@stage_options
def dump(teacher: str, params_path: Path, prepared: Path, teachers: Path, out: Path | None) -> None:
    """Dump logits and features of the teacher TEACHER of params.yaml into its store."""
    content = load_params(params_path)
    machine = load_machine(content)
    params = section(content, DumpParams, "dumps", teacher)
    augmentation = section(content, Augmentation, "augmentation")
    data = load_prepared(prepared)
    device = pick_device(machine)
    set_up(device, machine.threads)
    record = read_record(teachers / teacher)
    network = build(record["network"], len(data.class_names))
    load_into(network, load_weights(teachers / teacher / "replicate-0" / WEIGHTS))
    place(network, device)
    target = out or STORES / f"{teacher}.zarr"
    files: dict[str, Path] = {}
    with ExitStack() as stack, ProgressDisplay("images") as display:
        for group in groups_of(params):
            header = Header(
                group=group,
                dataset=describe_dataset(data),
                teacher=teacher_info(record),
                recipe=view_recipe(params, group, augmentation),
                batch_size=params.batch_size,
                precision="float32" if device.type == "cpu" else "tf32",
                tolerance=TOLERANCE,
                versions={name: version(name) for name in ("numpy", "torch", "zarr")},
            )
            work = stack.enter_context(WorkFolder(WORK, key_of(header, params, device)))

            def show(done: int, total: int, group: str = group) -> None:
                display.show(Tick(f"{teacher} {group}", done, total))

            files |= dump_group(network, header, params, data, device, work.path, show)
        work.publish(files, target)
    views = ", ".join(f"{v.views} {g} views" for g in GROUPS if (v := params.group(g)))
    console.print(f"store of {teacher}: clean images, {views} -> {target}")


def groups_of(params: DumpParams) -> list[GroupName]:
    """The groups that are dumped."""
    return ["clean", *(group for group in GROUPS if params.group(group))]


def key_of(header: Header, params: DumpParams, device: torch.device) -> str:
    """Key of a group's work folder: all that its files depend on, save the number of views."""
    views = (
        None
        if header.group == "clean"
        else params.plain
        if header.group == "plain"
        else params.mixed
    )
    facts = {
        "header": asdict(header),
        "features": views is None or views.features,
        "device": device.type,
        "code": code_digest(),
    }
    return work_key(json.loads(json.dumps(facts)))


def teacher_info(record: dict[str, Any]) -> TeacherInfo:
    """What a manifest says of the teacher."""
    replicate = record["replicates"][0]
    mixup = record["entry"].get("mixup")
    return TeacherInfo(
        name=record["name"],
        network=record["network"],
        weights_sha256=replicate["weights_sha256"],
        training={**record["training"], "mixup": mixup, "seed": replicate["seed"]},
        top1_accuracy=replicate["top1_accuracy"],
    )


if __name__ == "__main__":
    dump()
