"""docs/notebook.ipynb: its cells run, and what it keeps is what they print.

The store is the default profile's, but for a teacher that is trained for one epoch: what depends on its
weights (accuracy, digests, pixels of bars) differs, all else is compared.
"""

import base64
import io
import re
import shutil

import pytest
from face_samples import inside, project
from notebook_cells import ROOT, code_cells, read_notebook, run_cells
from PIL import Image
from workspaces import yaml

DIGEST = re.compile(r"(weights|manifest) [0-9a-f]{12}")
ACCURACY = re.compile(r"top-1 \d+\.\d\d%")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("notebook")
    content = yaml.load(ROOT / "profiles" / "digits.yaml")
    content["teachers"] = {
        "resnet20": {**content["teachers"]["resnet20"], "training": {"epochs": 1}}
    }
    content["dumps"] = {"resnet20": content["dumps"]["resnet20"]}
    content["machine"].update(threads=1, workers=1)
    with inside(folder):
        project(folder, {**content, "students": {}}, teacher="resnet20")
    shutil.copytree(ROOT / "results" / "cifar100-short", folder / "results" / "cifar100-short")
    return folder


def compared(outputs):
    """What does not depend on the teacher's weights; of a picture its size."""
    for output in outputs:
        data = output.get("data", {"text/plain": output.get("text")})
        if "image/png" in data:
            with Image.open(io.BytesIO(base64.b64decode(data["image/png"]))) as picture:
                yield picture.size
        else:
            text = "".join(data["text/plain"])
            yield ACCURACY.sub("top-1", DIGEST.sub(r"\1", text))


def test_what_the_notebook_keeps_is_what_its_cells_print(folder):
    notebook = read_notebook()
    cells = code_cells(notebook)
    assert len(cells) == 10
    with inside(folder):
        printed = run_cells(notebook)
    for cell, outputs in zip(cells, printed, strict=True):
        assert cell["outputs"], "run tests/notebook_cells.py"
        assert list(compared(cell["outputs"])) == list(compared(outputs)), cell["source"]
