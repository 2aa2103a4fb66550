"""Folders with a params.yaml of their own, in which commands are run by hand."""

import json
import subprocess
from pathlib import Path

from click.testing import CliRunner
from ruamel.yaml import YAML

from stages.cli import main

ROOT = Path(__file__).resolve().parent.parent
yaml = YAML(typ="safe")


def profiles():
    """The repository's; whoever has the clone may keep others beside them."""
    command = ["git", "ls-files", "profiles/*.yaml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in done.stdout.split()]


def digits_params():
    content = yaml.load(ROOT / "profiles" / "digits.yaml")
    content["machine"].update(device="cpu", threads=1, workers=1)
    content["training"]["epochs"] = 1
    content["teachers"] = {"resnet8": {"network": "resnet8", "seed": 0}}
    views = {"views": 2, "draw": "random"}
    content["dumps"] = {
        "resnet8": {
            "seed": 0,
            "batch_size": 256,
            "plain": views,
            "mixed": {**views, "alpha": 1.0},
        }
    }
    shared = {"network": "resnet8", "method": "kd", "seed": 5, "replicates": 1}
    content["students"] = {"plain": {"store": "resnet8.zarr/plain", "share": 0.0, **shared}}
    return content


class Workspace:
    """A working directory with a params.yaml in which commands are invoked."""

    def __init__(self, folder, content):
        self.folder, self.content = folder, content

    def run(self, *arguments, code=0):
        with (self.folder / "params.yaml").open("w") as file:
            yaml.dump(self.content, file)
        result = CliRunner().invoke(main, arguments, catch_exceptions=False)
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
        return result.output

    def record(self, folder):
        return json.loads((self.folder / folder / "record.json").read_text())
