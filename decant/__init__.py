"""Decant in Python: a teacher's store, what a student sees of it, and all results.

    store = decant.open("resnet20")
    for batch in store.loader(share=0.5, epoch=3): ...

Importing this imports neither torch nor zarr; what a name needs is imported when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from decant.batch import Batch
    from decant.dataset import StoreDataset
    from decant.frame import results
    from decant.loader import Loader
    from decant.store import Store, open
    from pipeline.core.errors import DecantError

__all__ = ["Batch", "DecantError", "Loader", "Store", "StoreDataset", "open", "results"]

_MODULES = {
    "Batch": "decant.batch",
    "DecantError": "pipeline.core.errors",
    "Loader": "decant.loader",
    "Store": "decant.store",
    "StoreDataset": "decant.dataset",
    "open": "decant.store",
    "results": "decant.frame",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
