import subprocess
import sys

import torch

from pipeline.raw import torchvision_compat
from pipeline.raw.torchvision_compat import define_missing_operators, torchvision


def run(code: str) -> str:
    """Run code in a fresh interpreter with warnings as errors; returns what it printed last."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    lines = (result.stdout + result.stderr).strip().splitlines()
    return lines[-1] if lines else ""


def test_data_sets_transforms_and_models_work():
    image = torch.arange(12, dtype=torch.float32).reshape(1, 3, 2, 2)
    flipped = torchvision.transforms.functional.hflip(image)
    torch.testing.assert_close(flipped, image.flip(-1))
    assert torchvision.datasets.CIFAR100.base_folder == "cifar-100-python"
    model = torchvision.models.squeezenet1_1(num_classes=3)
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 3)


def test_both_operators_are_known_and_defined_only_once():
    assert hasattr(torch.ops.torchvision, "nms")
    assert hasattr(torch.ops.torchvision, "qnms")
    before = len(torchvision_compat._LIBRARIES)
    assert define_missing_operators() is False
    assert len(torchvision_compat._LIBRARIES) == before


def test_schemas_are_defined_exactly_where_the_bare_import_fails():
    bare = run("import torchvision; print('works')")
    ours = run("from pipeline.raw import torchvision_compat as t; print(len(t._LIBRARIES))")
    if bare == "works":
        assert ours == "0"
    else:
        assert "operator torchvision::nms does not exist" in bare
        assert ours == "1"
