"""A teacher's weights and prepared data in, its store out (`data/stores/TEACHER.zarr`).

Which version of it that is goes to `data/versions/TEACHER.zarr`, small files that are kept in git.

Three groups: clean images, plain views and mixed views. Each is computed in a work folder of its own,
so that changing one leaves what is done of the others, and more views add to the ones that are there.
"""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.core.files import PREPARED, STORES, TEACHERS, VERSIONS, WORK
from pipeline.core.machine import load_machine
from stages.shared.options import console, load_params, path_option, stage_options

if TYPE_CHECKING:
    from pipeline.models.network import Network
    from pipeline.results.record import Record


@click.command()
@click.argument("teacher")
@path_option("--prepared", PREPARED, "Prepared data set.")
@path_option("--teachers", TEACHERS, "Folder of the trained teachers.")
@path_option("--out", None, "Store to write.  [default: data/stores/TEACHER.zarr]")
@stage_options
def dump(teacher: str, params_path: Path, prepared: Path, teachers: Path, out: Path | None) -> None:
    """Dump logits and features of the teacher TEACHER of params.yaml into its store."""
    from pipeline.compute import open_work, pick_device, precision_warning, set_up
    from pipeline.core.dataset_params import load_dataset
    from pipeline.core.params import section
    from pipeline.core.progress import Tick
    from pipeline.dump.dump import dump_group, group_header, groups_of, teacher_info
    from pipeline.dump.params import DumpParams
    from pipeline.dump.ready import ready
    from pipeline.results.record import read_record
    from pipeline.store.format.manifest import header_facts
    from pipeline.store.format.version import write_versions
    from pipeline.views.params import Augmentation
    from pipeline.views.predict import place
    from stages.shared.progress import ProgressDisplay

    content = load_params(params_path)
    machine = load_machine(content)
    params = section(content, DumpParams, "dumps", teacher)
    augmentation = section(content, Augmentation, "augmentation")
    data = load_dataset(prepared, content)
    device = pick_device(machine)
    set_up(device, machine.threads)
    warning = precision_warning({f"dumps.{teacher}.precision": params.precision}, device)
    if warning:
        console.print(warning)
    record = read_record(teachers / teacher)
    network = place(load_teacher(teachers / teacher, record, len(data.class_names)), device)
    size = data.train.images.shape[1:3]
    exact, as_asked = ready(network, size, "float32"), ready(network, size, params.precision)
    target = out or STORES / f"{teacher}.zarr"
    files: dict[str, Path] = {}
    computed: set[str] = set()
    with ExitStack() as stack, ProgressDisplay("images") as display:
        for group in groups_of(params):
            header = group_header(
                group, params, augmentation, data, teacher_info(record, data), device
            )
            views = None if group == "clean" else params.group(group)
            facts = {"header": header_facts(header), "features": views is None or views.features}
            work = stack.enter_context(open_work("dump", facts, device))

            def show(done: int, total: int, group: str = group) -> None:
                computed.add(group)
                display.show(Tick(f"{teacher} {group}", done, total))

            teaching = as_asked if header.precision == params.precision else exact
            files |= dump_group(
                teaching, header, params, data, device, work.path, show, exact=exact
            )
        work.publish(files, target)
    if out is None:
        write_versions(target, groups_of(params), VERSIONS / target.name)
    console.print(f"store of {teacher}: {', '.join(groups_of(params))} -> {target}")
    if kept := [group for group in groups_of(params) if group not in {"clean", *computed}]:
        console.print(
            f"store of {teacher}: all {' and '.join(kept)} views were dumped before (kept in "
            f"{WORK}); `decant clean` first dumps them anew"
        )


def load_teacher(folder: Path, record: "Record", classes: int) -> "Network":
    """The network of a teacher's folder, on the CPU.

    Raises ValueError where its weights are not those that its record tells of, whose sha256 the
    store will carry.
    """
    from pipeline.models.registry import build
    from pipeline.models.weights import load_into, load_weights, weights_digest
    from pipeline.results.record import WEIGHTS

    path = folder / "replicate-0" / WEIGHTS
    network = build(record.network, classes)
    load_into(network, load_weights(path), source=str(path), name=record.network)
    digest, stated = weights_digest(network), record.replicates[0].weights_sha256
    if digest != stated:
        raise ValueError(
            f"{path}: not the weights of its record (sha256 {digest[:12]}..., there {stated[:12]}...): "
            f"damaged, or of another training. Delete {folder} and pull it (`dvc pull {folder}`), or run "
            f"`decant clean` and train it again (`dvc repro train_teacher@{folder.name}`)"
        )
    return network


if __name__ == "__main__":
    dump()
