"""`import decant`: its names and signatures, and that it costs nothing."""

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from workspaces import ROOT

import decant
from pipeline.core.errors import DecantError

READS = (
    "share: float = 0.0, epoch: int = 0, {}replicate: int = 0, seed: int = 0, "
    "views: int | None = None, sampling: Sampling = 'epoch', features: bool = False, "
    "prepared: PathLike | None = None"
)
PICTURE = (
    "view: int = 0, n: int = 8, group: str | None = None, images: Sequence[int] | None = None, "
    "prepared: PathLike | None = None"
)
DEVICE = "batch_size: int = 64, device: str | torch.device = 'auto', "
SIGNATURES = {
    "open": "store: PathLike",
    "results": "path: str | Path | None = None",
    "Store.loader": f"self, *, {READS.format(DEVICE)}",
    "Store.dataset": f"self, *, {READS.format('')}",
    "Store.show": f"self, *, {PICTURE}",
    "Store.strip": f"self, *, {PICTURE}",
    "Store.group": "self, name: str",
    "StoreDataset.set_epoch": "self, epoch: int",
    "StoreDataset.batches": "self, batch_size: int",
}


def arguments(name):
    """The arguments of a public function, as its file states them."""
    module = importlib.import_module(decant._MODULES[name.partition(".")[0]])
    owner, _, method = name.rpartition(".")
    tree = ast.parse(Path(module.__file__).read_text())
    body = next((n.body for n in tree.body if getattr(n, "name", None) == owner), tree.body)
    (function,) = (node for node in body if getattr(node, "name", None) == method)
    return ast.unparse(function.args)


def test_all_names_are_there_and_described():
    assert decant.__all__ == sorted(decant.__all__, key=lambda name: (name.islower(), name))
    assert set(decant.__all__) == set(decant._MODULES) <= set(dir(decant))
    for name in decant.__all__:
        assert inspect.getdoc(getattr(decant, name))
    assert decant.DecantError is DecantError
    assert issubclass(decant.DecantError, ValueError)
    with pytest.raises(AttributeError, match="no attribute 'opne'"):
        decant.opne  # noqa: B018


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures(name):
    spaced = SIGNATURES[name].replace(": ", ":").replace(" = ", "=")
    assert arguments(name).replace(": ", ":").replace(" = ", "=") == spaced


def test_a_batch_is_a_tuple_of_five():
    assert decant.Batch._fields == (
        *("images", "targets", "teacher_logits", "teacher_features", "indices"),
    )


def test_importing_it_costs_nothing():
    code = (
        "import sys, time; start = time.process_time(); import decant; "
        "print(time.process_time() - start, *sys.modules)"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
        ).stdout.split()
        for _ in range(3)
    ]
    assert not {"torch", "zarr", "numpy", "pandas"} & {*runs[0][1:]}
    assert min(float(seconds) for seconds, *_ in runs) < 0.1


def test_the_library_and_the_stages_do_not_import_it():
    files = [*(ROOT / "pipeline").rglob("*.py"), *(ROOT / "stages").rglob("*.py")]
    assert len(files) > 150
    users = [path for path in files if "from decant" in path.read_text()]
    assert users == [ROOT / "stages/commands/view.py"]
