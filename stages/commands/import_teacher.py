"""A checkpoint that was trained elsewhere in; checked safetensors weights out, with their accuracy."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.core.files import PREPARED
from pipeline.core.machine import Machine, load_machine
from stages.shared.normalising import given_normalisation, normalisation_options
from stages.shared.options import console, load_params, path_option, stage_options

if TYPE_CHECKING:  # for a quick --help
    from pipeline.core.dataset import ImageData, Normalisation
    from pipeline.models.network import Network

IMPORTED = Path("data/imported")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--arch", required=True, help="Name of the network, e.g. resnet56 or ShuffleV1.")
@click.option(
    "--key",
    help="Which weights are meant where FILE holds several, e.g. state_dict_ema.  [default: those that "
    "fit the network, before any averages of them]",
)
@normalisation_options
@path_option("--prepared", PREPARED, "Prepared data set that the accuracy is measured on.")
@path_option("--out", None, "File to write.  [default: data/imported/ARCH.safetensors]")
@stage_options
def import_teacher(
    file: Path,
    arch: str,
    key: str | None,
    mean: tuple[float, float, float] | None,
    std: tuple[float, float, float] | None,
    params_path: Path,
    prepared: Path,
    out: Path | None,
) -> None:
    """Convert the checkpoint FILE (.pth or .safetensors) and measure its accuracy.

    Every name, shape and number is checked against the network. Nothing in FILE is executed. Give
    --mean and --std where the network was trained under another normalisation than the data set's: an
    accuracy under a wrong one can be points too low, or tens of points.
    """
    from pipeline.core.dataset_params import load_dataset
    from pipeline.models.registry import build, own_name
    from pipeline.models.weights import load_into, save_weights
    from pipeline.tools.foreign import read_foreign

    own = given_normalisation(mean, std)
    content = load_params(params_path)
    data = load_dataset(prepared, content)
    name = own_name(arch)
    network = build(name, len(data.class_names))
    network.check_image_size(*data.train.images.shape[1:3])
    if name != arch:
        console.print(f"{arch} is called {name} here", markup=False)
    weights = read_foreign(file, network, name=name, key=key)
    for note in weights.notes:
        console.print(f"{file}: {note}", markup=False)
    load_into(network, weights.state, source=str(file), name=name)
    target = out or IMPORTED / f"{name}.safetensors"
    check_free(target, network)
    seen = data.normalised(own)
    accuracy = measure(network, seen, load_machine(content), name)
    target.parent.mkdir(parents=True, exist_ok=True)
    save_weights(network, target)
    whose = "as given" if own is not None else "the data set's own"
    where = f"the {data.evaluated_on} set of {seen} ({whose})"
    console.print(f"{name}: {accuracy:.2%} on {where} -> {target}", markup=False)
    if own is None:
        console.print(
            "If the network was trained under another normalisation, give that: --mean R G B --std R G B"
        )
    console.print("To use it, give a teacher of params.yaml these lines:")
    console.print(entry(name, target, network, own if own != data.normalisation else None))


def check_free(target: Path, network: "Network") -> None:
    """Raise ValueError where other weights lie at a target: an entry of params.yaml may name them."""
    from pipeline.models.weights import CheckpointError, load_weights, weights_digest

    if not target.exists():
        return
    try:
        same = weights_digest(load_weights(target)) == weights_digest(network)
    except CheckpointError:
        same = False
    if not same:
        raise ValueError(
            f"{target}: there are other weights already; give --out {target.with_stem('NAME')}, or "
            "delete that file if no teacher of params.yaml names it"
        )


def measure(network: "Network", data: "ImageData", machine: Machine, name: str) -> float:
    """The fraction of the test images that a network gets right, which it sees as `data` has them."""
    from pipeline.compute import pick_device, set_up
    from pipeline.results.metrics import top1_accuracy
    from pipeline.views.predict import clean_bank, place, predict_clean
    from stages.shared.progress import counter

    device = pick_device(machine)
    set_up(device, machine.threads)
    place(network, device)
    bank = clean_bank(data.test.images, data.mean, data.std, device)
    with counter(f"{name} on the {data.evaluated_on} set", "images", bank.count) as count:
        logits, _ = predict_clean(network, bank, 500, count)
    return top1_accuracy(logits, data.test.labels)


def entry(name: str, path: Path, network: "Network", own: "Normalisation | None") -> str:
    """The lines of a teacher's entry in params.yaml."""
    from pipeline.models.weights import weights_digest

    facts: Mapping[str, Any] = {"path": path, "sha256": weights_digest(network)}
    if own is not None:
        facts = {**facts, "mean": list(own.mean), "std": list(own.std)}
    lines = [f"    network: {name}", "    weights:", *(f"      {k}: {v}" for k, v in facts.items())]
    return "\n".join(lines)


if __name__ == "__main__":
    import_teacher()
