"""Import torchvision, also where its compiled operators cannot be loaded.

The default torchvision wheel contains operators linked against CUDA. Beside a CPU-only build of torch they
fail to load. torchvision tolerates that, but its import then registers shape functions for two operators
that nobody has defined ("operator torchvision::nms does not exist"). It is enough for data sets, transforms
and models to define the two schemas, without an implementation.

Always import torchvision from here, so that the schemas are defined first::

    from pipeline.raw.torchvision_compat import torchvision
"""

from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

__all__ = ["define_missing_operators", "torchvision"]

MISSING_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)

# A torch.library.Library removes its definitions when it is collected: keep it until the process ends.
_LIBRARIES: list[Any] = []

# Any: these parts of torch carry no annotations.
_torch_ops: Any = torch.ops
_torch_library: Any = torch.library


def _compiled_operators_load() -> bool:
    """Whether torchvision's compiled operators exist and load beside this torch.

    Loads them as torchvision's own import does, which then finds them loaded.
    """
    spec = find_spec("torchvision")
    folders = list(spec.submodule_search_locations or []) if spec else []
    for path in (
        Path(folder) / f"_C{suffix}" for folder in folders for suffix in EXTENSION_SUFFIXES
    ):
        if path.is_file():
            try:
                _torch_ops.load_library(str(path))
            except OSError:
                return False
            return True
    return False


def define_missing_operators() -> bool:
    """Define the schemas of `nms` and `qnms` if they are missing; returns whether it did."""
    if hasattr(_torch_ops.torchvision, "nms") or _compiled_operators_load():
        return False
    library = _torch_library.Library("torchvision", "DEF")
    for schema in MISSING_SCHEMAS:
        library.define(schema)
    _LIBRARIES.append(library)
    return True


define_missing_operators()

import torchvision  # noqa: E402
