"""A teacher of params.yaml and the prepared data in, its store out."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.compute import open_work, pick_device, precision_warning, set_up
from pipeline.core.dataset_params import load_dataset
from pipeline.core.errors import DecantError
from pipeline.core.machine import load_machine
from pipeline.core.params import section
from pipeline.core.progress import Display, Tick
from pipeline.dump.dump import dump_group, group_header, groups_of, teacher_info
from pipeline.dump.params import DumpParams
from pipeline.dump.ready import ready
from pipeline.models.network import Network
from pipeline.models.registry import build, own_code_sha256
from pipeline.models.weights import load_into, load_weights, weights_digest
from pipeline.results.record import WEIGHTS, Record, read_record
from pipeline.store.format.manifest import header_facts
from pipeline.store.format.version import write_versions
from pipeline.views.params import CLEAN, Augmentation, GroupName
from pipeline.views.predict import place


@dataclass(frozen=True)
class Dumped:
    """The groups of a store that was dumped, and those of them whose views were all there before."""

    groups: list[GroupName]
    kept: list[GroupName]


def dump_teacher(
    name: str,
    content: dict[str, Any],
    prepared: Path,
    folder: Path,
    target: Path,
    display: Display,
    *,
    versions: Path | None,
) -> Dumped:
    """Dump an entry of `dumps` and publish the store.

    Each group is computed in a work folder of its own, so that changing one leaves what is done of the
    others, and more views add to the ones that are there.

    Args:
        content: the whole parameter file.
        folder: of the trained teacher.
        target: the store to publish.
        versions: where to write which version of the store this is; None: nowhere.

    Raises ValueError for a mistake of the user's, StoreError for unfinished work that cannot be used.
    """
    machine = load_machine(content)
    params = section(content, DumpParams, "dumps", name)
    augmentation = section(content, Augmentation, "augmentation")
    data = load_dataset(prepared, content)
    device = pick_device(machine)
    set_up(device, machine.threads)
    if warning := precision_warning({f"dumps.{name}.precision": params.precision}, device):
        display.tell(warning)
    record = read_record(folder)
    network = place(load_teacher(folder, record, len(data.class_names)), device)
    size = data.train.images.shape[1:3]
    exact, as_asked = ready(network, size, "float32"), ready(network, size, params.precision)
    groups = groups_of(params)
    files: dict[str, Path] = {}
    computed: set[str] = {CLEAN}  # is not told of
    with ExitStack() as stack:
        for group in groups:
            teacher = teacher_info(record, data)
            header = group_header(group, params, augmentation, data, teacher, device)
            views = None if group == CLEAN else params.group(group)
            facts = {
                "header": header_facts(header),
                "features": views is None or views.features,
                "own_network": own_code_sha256(record.network),
            }
            work = stack.enter_context(open_work("dump", facts, device))

            def show(done: int, total: int, group: str = group) -> None:
                computed.add(group)
                display.show(Tick(f"{name} {group}", done, total))

            teaching = as_asked if header.precision == params.precision else exact
            files |= dump_group(
                teaching, header, params, data, device, work.path, show, exact=exact
            )
        work.publish(files, target)
    if versions is not None:
        write_versions(target, groups, versions)
    return Dumped(groups, [group for group in groups if group not in computed])


def load_teacher(folder: Path, record: Record, classes: int) -> Network:
    """The network of a teacher's folder, on the CPU.

    Raises DecantError where its weights are not those that its record tells of, whose sha256 the
    store will carry.
    """
    path = folder / "replicate-0" / WEIGHTS
    network = build(record.network, classes)
    load_into(network, load_weights(path), source=str(path), name=record.network)
    digest, stated = weights_digest(network), record.replicates[0].weights_sha256
    if digest != stated:
        raise DecantError(
            f"{path}: not the weights of its record (sha256 {digest[:12]}..., there {stated[:12]}...): "
            f"damaged, or of another training. Delete {folder} and pull it (`dvc pull {folder}`), or run "
            f"`decant clean` and train it again (`dvc repro train_teacher@{folder.name}`)"
        )
    return network
