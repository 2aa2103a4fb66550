"""Named tensors in a safetensors file, written whole or not at all."""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from pipeline.core.arrays import UNREADABLE
from pipeline.core.errors import DecantError
from pipeline.core.files import durable_write
from pipeline.models.weights import cpu_copies


def save_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Write tensors and text to a file, through a temporary one beside it."""
    # One text under one key: the format keeps no order among several.
    text = {"facts": json.dumps(dict(metadata), sort_keys=True)} if metadata else None
    durable_write(path, save(cpu_copies(tensors), text))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read what `save_tensors` wrote: the tensors, on the CPU, and the text.

    Raises DecantError where the file is damaged, FileNotFoundError where it is absent.
    """
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {}).get("facts", "{}"))
            return {name: file.get_tensor(name) for name in file.keys()}, facts  # noqa: SIM118
    except (SafetensorError, *UNREADABLE) as error:
        raise DecantError(
            f"{path} is damaged ({error}); remove it and run the stage again"
        ) from None
