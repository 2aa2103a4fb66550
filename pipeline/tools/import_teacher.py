"""Import a checkpoint from elsewhere: check it, measure its accuracy, write it as safetensors."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.compute import pick_device, set_up
from pipeline.core.asked_dataset import load_dataset
from pipeline.core.dataset import ImageData
from pipeline.core.machine import Machine, load_machine
from pipeline.core.normalisation import Normalisation
from pipeline.core.progress import Display, counter
from pipeline.models.catalogue import canonical_name
from pipeline.models.network import Network
from pipeline.models.registry import build
from pipeline.models.weights import (
    CheckpointError,
    load_into,
    load_weights,
    save_weights,
    weights_digest,
)
from pipeline.results.metrics import top1_accuracy
from pipeline.tools.foreign import read_foreign
from pipeline.views.predict import clean_bank, place, predict_clean

IMPORTED = Path("data/imported")


@dataclass(frozen=True)
class Imported:
    """Imported weights.

    Attributes:
        name: the network's name in `MODELS`.
        path: the file that was written.
        accuracy: top-1, fraction.
        where: the images and the normalisation that it was measured on, in words.
        entry: lines for params.yaml, for a teacher with these weights.
    """

    name: str
    path: Path
    accuracy: float
    where: str
    entry: str


def import_teacher(
    file: Path,
    arch: str,
    key: str | None,
    own: Normalisation | None,
    content: dict[str, Any],
    prepared: Path,
    out: Path | None,
    display: Display,
) -> Imported:
    """Check a checkpoint against a network, measure its accuracy and write it as safetensors.

    Args:
        arch: the network's name, in `MODELS` or in the field.
        key: selects weights if the file holds several sets of them.
        own: the normalisation that it was trained with; None: the data set's.
        content: the whole parameter file.
        out: file to write; None: a file below data/imported.

    Raises CheckpointError if file and network do not fit, ValueError for other mistakes.
    """
    data = load_dataset(prepared, content)
    name = canonical_name(arch)
    network = build(name, len(data.class_names))
    network.check_image_size(*data.train.images.shape[1:3])
    if name != arch:
        display.tell(f"{arch} is named {name} here")
    weights = read_foreign(file, network, name=name, key=key)
    for note in weights.notes:
        display.tell(f"{file}: {note}")
    load_into(network, weights.state, source=str(file), name=name)
    target = out or IMPORTED / f"{name}.safetensors"
    check_free(target, network)
    normalised = data.normalised(own)
    accuracy = measure(network, normalised, load_machine(content), name, display)
    save_weights(network, target)
    origin = "as given" if own is not None else "the data set's own"
    where = f"the {data.evaluated_on} set of {normalised} ({origin})"
    lines = entry(name, target, network, own if own != data.normalisation else None)
    return Imported(name, target, accuracy, where, lines)


def check_free(target: Path, network: Network) -> None:
    """Raise ValueError if the target holds other weights: an entry of params.yaml may name them."""
    if not target.exists():
        return
    try:
        same = weights_digest(load_weights(target)) == weights_digest(network)
    except CheckpointError:
        same = False
    if not same:
        raise ValueError(
            f"{target} already holds other weights; give --out {target.with_stem('NAME')}, or "
            "delete that file if no teacher of params.yaml names it"
        )


def measure(
    network: Network, data: ImageData, machine: Machine, name: str, display: Display
) -> float:
    """A network's top-1 accuracy (fraction) on the test images, under the normalisation of `data`."""
    device = pick_device(machine)
    set_up(device, machine.threads)
    place(network, device)
    bank = clean_bank(data.test.images, data.mean, data.std, device)
    count = counter(display, f"{name} on the {data.evaluated_on} set", bank.count)
    logits, _ = predict_clean(network, bank, on_batch=count)
    return top1_accuracy(logits, data.test.labels)


def entry(name: str, path: Path, network: Network, own: Normalisation | None) -> str:
    """The lines of a teacher's entry in params.yaml."""
    facts: Mapping[str, Any] = {"path": path, "sha256": weights_digest(network)}
    if own is not None:
        facts = {**facts, "mean": list(own.mean), "std": list(own.std)}
    head = [f"    network: {name}", "    seed: 0", "    weights:"]  # the seed is of no effect
    return "\n".join([*head, *(f"      {k}: {v}" for k, v in facts.items())])
