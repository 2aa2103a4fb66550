"""Writes a folder of golden files with the code as it is: `python tests/golden/make.py schema-1`.

What is there is never made again (see README.md): the folder must not exist. All is made by the commands
that users run, in a project of its own; what they made is copied, and `expected.json` says what a
reader must find in it.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from ruamel.yaml import YAML

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE)]

from expected import describe  # noqa: E402

SEED, VIEWS = 1, 2
VIEW = {"draw": "stratified", "features": False}
CODECS = {
    "dense": None,
    "zstd": {"name": "zstd", "level": 3},
    "bitround": {"name": "bitround", "keep_bits": 6, "level": 3},
    "int8": {"name": "int8"},
    "topk": {"name": "topk", "top_k": 3, "level": 3},
}


def params(codec: str) -> dict:
    """The project's parameters with one codec; the views are the same for all of them."""
    # The dense plan needs a second chunk (of 16 views); zstd is where views have features.
    plain = {**VIEW, "views": 17 if codec == "dense" else VIEWS}
    mixed = {**VIEW, "views": VIEWS, "alpha": 1.0}
    for group in (plain, mixed):
        group["features"] = codec == "zstd"
    dump = {"seed": SEED, "batch_size": 32, "plain": plain, "mixed": mixed}
    mixup = {"alpha": 1.0, "share": 0.5}
    student = {"network": "resnet8", "method": "rescaled", "seed": 7, "replicates": 1}
    return {
        "machine": {"data_root": "data/raw", "device": "cpu", "threads": 1, "workers": 1},
        "dataset": {
            "name": "digits",
            "image_size": 8,
            "test_fraction": 0.2,
            "validation_fraction": 0.03,
            "subset_fraction": 0.04,
            "seed": 0,
        },
        "augmentation": {"pad": 1, "flip": True},
        "training": {
            "epochs": 12,
            "batch_size": 16,
            "learning_rate": 0.05,
            "momentum": 0.9,
            "weight_decay": 5e-4,
            "schedule": {"name": "cosine"},
            "evaluate_every": 5,
            "precision": "float32",
        },
        "methods": {"rescaled": {"loss": "rescaled", "gamma": 0.1, "alpha": 0.9}},
        "teachers": {"golden": {"network": "resnet8", "seed": 0, "mixup": mixup}},
        "baselines": {"alone": {"network": "resnet8", "seed": 3, "replicates": 2}},
        "dumps": {"golden": dump if CODECS[codec] is None else {**dump, "codec": CODECS[codec]}},
        "students": {"partial": {"store": "golden.zarr", "share": 0.5, **student}},
        "evaluation": {
            "vscore": {"groups": {"alike": ["3", "5", "8"]}, "seed": 0, "n_init": 2},
        },
    }


def run(project: Path, *arguments: str) -> None:
    """Run `decant ARGUMENTS` in the project."""
    command = [sys.executable, "-m", "stages.cli", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=project, env=environment, check=True)


def make(project: Path) -> None:
    """Run everything whose files are kept."""
    yaml = YAML()
    for codec in CODECS:
        with (project / f"{codec}.yaml").open("w") as file:
            yaml.dump(params(codec), file)
    shutil.copyfile(project / "dense.yaml", project / "params.yaml")
    for command in ("check", "prepare"):
        run(project, command)
    run(project, "train-teacher", "golden")
    run(project, "train-baseline", "alone")
    run(project, "dump", "golden")
    for codec in CODECS:
        out = f"stores/{codec}.zarr"
        run(project, "dump", "golden", "--params", f"{codec}.yaml", "--out", out)
    run(project, "train-student", "partial")
    run(project, "keep", "kept")
    zoo_checkpoint(project)
    run(project, "import-teacher", "zoo.pth", "--arch", "resnet8")


def zoo_checkpoint(project: Path) -> None:
    """The teacher's weights as the field's zoo would have saved them, of a DataParallel network."""
    from pipeline.models.weights import load_weights

    weights = load_weights(project / "data/teachers/golden/replicate-0/weights.safetensors")
    model = {f"module.{name}": tensor for name, tensor in weights.items()}
    torch.save({"epoch": 12, "best_acc": 0.5, "model": model}, project / "zoo.pth")


def collect(project: Path, target: Path) -> None:
    """Copy what is kept. Weights of networks that nothing here is computed with are left out."""
    for name in ("params.yaml", *(f"{codec}.yaml" for codec in CODECS)):
        shutil.copyfile(project / name, target / name)
    heavy = shutil.ignore_patterns("weights.safetensors")
    for folder in ("prepared", "teachers", "versions"):
        shutil.copytree(project / "data" / folder, target / folder)
    for folder in ("baselines", "students"):
        shutil.copytree(project / "data" / folder, target / folder, ignore=heavy)
    for folder in ("stores", "kept"):
        shutil.copytree(project / folder, target / folder)
    (target / "imported").mkdir()
    shutil.copyfile(project / "zoo.pth", target / "imported/resnet8.pth")
    shutil.copyfile(
        project / "data/imported/resnet8.safetensors", target / "imported/resnet8.safetensors"
    )


def main() -> None:
    """Make the folder that is named on the command line."""
    target = HERE / sys.argv[1]
    target.mkdir()  # fails where it is there: golden files are never made again
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder))
        collect(Path(folder), target)
    text = json.dumps(describe(target), indent=1, sort_keys=True)
    (target / "expected.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
