"""A small project of digits that has been run, for the tests of `import decant`."""

import os
from contextlib import contextmanager
from pathlib import Path

from workspaces import Workspace, digits_params

STUDENTS = {
    "plain": {"store": "resnet8.zarr/plain", "method": "kd", "share": 0.0, "replicates": 1},
    "half": {"store": "resnet8.zarr", "method": "rkd", "share": 0.4, "replicates": 2},
    "each": {
        "store": "resnet8.zarr",
        "method": "kd",
        "share": 0.7,
        "replicates": 1,
        "view_sampling": "image",
        "views": 2,
    },
}


def params():
    """Three views, two epochs, a lone image at the end of an epoch, students of each kind."""
    content = digits_params()
    content["training"].update(epochs=2, batch_size=137)
    content["dataset"]["subset_fraction"] = 0.286  # 412 images: 3 batches, and 1 that is left over
    content["methods"]["rkd"] = {"loss": "rkd", "gamma": 1.0, "distance": 25.0, "angle": 50.0}
    for group in ("plain", "mixed"):
        content["dumps"]["resnet8"][group] |= {"views": 3, "features": True}
    shared = {"network": "resnet8", "seed": 5}
    content["students"] = {name: {**shared, **entry} for name, entry in STUDENTS.items()}
    return content


@contextmanager
def inside(folder):
    """The working folder, until the end."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def project(folder, content=None, teacher="resnet8"):
    """A project with a prepared data set, a teacher and its store; no student is trained."""
    work = Workspace(folder, params() if content is None else content)
    with inside(folder):
        work.run("prepare")
        work.run("train-teacher", "--all")
        work.run("dump", teacher)
    return work
