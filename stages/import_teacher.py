"""A .pth checkpoint of the field's zoo in; checked safetensors weights out, with their accuracy."""

from pathlib import Path

import click

from stages.common import PREPARED, console, load_machine, load_params, path_option, stage_options

IMPORTED = Path("data/imported")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--arch", required=True, help="Name of the network, e.g. resnet56.")
@path_option("--prepared", PREPARED, "Prepared data set that the accuracy is measured on.")
@path_option("--out", None, "File to write.  [default: data/imported/ARCH.safetensors]")
@stage_options
def import_teacher(
    file: Path, arch: str, params_path: Path, prepared: Path, out: Path | None
) -> None:
    """Convert the checkpoint FILE (.pth) to safetensors and measure its accuracy.

    Every name and shape is checked against the network. Nothing in FILE is executed.
    """
    from pipeline.checkpoints import load_into, read_pth, save_weights, weights_digest
    from pipeline.metrics import top1_accuracy
    from pipeline.models import build
    from pipeline.predict import clean_bank, place, predict_clean
    from pipeline.prepared import load_prepared
    from stages.devices import pick_device, set_up

    machine = load_machine(load_params(params_path))
    device = pick_device(machine)
    set_up(device, machine.threads)
    data = load_prepared(prepared)
    network = build(arch, len(data.class_names))
    load_into(network, read_pth(file))
    place(network, device)
    bank = clean_bank(data.test.images, data.mean, data.std, device)
    logits, _ = predict_clean(network, bank, 500)
    accuracy = top1_accuracy(logits, data.test.labels)
    target = out or IMPORTED / f"{arch}.safetensors"
    target.parent.mkdir(parents=True, exist_ok=True)
    save_weights(network, target)
    console.print(f"{arch}: {accuracy:.2%} on the {data.evaluated_on} set -> {target}")
    console.print("To use it, give a teacher of params.yaml these lines:")
    console.print(f"    weights:\n      path: {target}")
    console.print(f"      sha256: {weights_digest(network.state_dict())}")


if __name__ == "__main__":
    import_teacher()
