"""Weights in and out: safetensors files of our own, and the field's `.pth` checkpoints.

Nothing that comes from someone else is unpickled, except `.pth` files through torch's restricted
unpickler, which knows tensors, plain containers and, here, `argparse.Namespace`: the zoo's training
scripts store their options as one.
"""

import argparse
import hashlib
import json
import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as safetensors_load
from safetensors.torch import save as safetensors_save
from torch import Tensor, nn

from pipeline.npy import UNREADABLE


class CheckpointError(ValueError):
    """A file of weights cannot be read, or does not fit the network."""


def read_pth(path: Path) -> dict[str, Tensor]:
    """Weights, by name, of a torch `.pth` file; tensors on the CPU.

    The file holds a state dict, or a dictionary with one under `model` or `state_dict` and anything
    harmless beside it. The prefix `module.` of a `DataParallel` network is taken off. Zip files and
    the older format are read; no code in them is run.

    Raises `CheckpointError` if the file is absent, damaged, asks for a class or function other than
    tensors, plain containers and `argparse.Namespace`, or holds no state dict.
    """
    try:
        # torch packs without compression: a small file could not unpack to gigabytes otherwise.
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
                    raise ValueError("compressed, as torch compresses none")
        # An open file, since torch looks at a path's suffix and takes some for other formats.
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a pickle protocol that torch does not write
            with torch.serialization.safe_globals([argparse.Namespace]):
                content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch's own message is not passed on: it recommends loading the file without protection.
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"it asks for {found[1]}" if found else "it is damaged or holds more than weights"
        raise CheckpointError(
            f"{path}: refused, for {what}; save the network's state_dict() alone with torch.save"
        ) from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # a damaged file fails inside torch in many ways
        raise CheckpointError(
            f"{path}: damaged, or not a torch checkpoint ({_summary(error)})"
        ) from error
    return _strip_prefix(_find_state(content, path))


def load_into(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Copy weights into a network; every name, shape and kind of number must be the network's.

    Raises `CheckpointError` that lists all missing, unexpected and unfitting weights; the network
    is then unchanged.
    """
    expected: dict[str, Tensor] = network.state_dict()
    missing = [name for name in expected if name not in state]
    unexpected = [name for name in state if name not in expected]
    unfitting = {
        name: f"{name}: {_describe(state[name])}, in the network {_describe(tensor)}"
        for name, tensor in expected.items()
        if name in state and _describe(state[name]) != _describe(tensor)
    }
    if missing or unexpected or unfitting:
        only_first_dimension = all(
            state[name].shape[1:] == expected[name].shape[1:] for name in unfitting
        )
        # The classifier's weights and biases are the only two that depend on the class count.
        if not missing and not unexpected and len(unfitting) <= 2 and only_first_dimension:
            hint = "is the number of classes right?"
        else:
            hint = "is this checkpoint of another architecture?"
        lines = [
            *(f"missing: {name}" for name in missing),
            *(f"unexpected: {name}" for name in unexpected),
            *(f"unfitting: {text}" for text in unfitting.values()),
        ]
        raise CheckpointError(
            f"the checkpoint does not fit {type(network).__name__}; {hint}\n  " + "\n  ".join(lines)
        )
    network.load_state_dict(dict(state), strict=True)


def save_weights(weights: nn.Module | Mapping[str, Tensor], path: Path) -> None:
    """Write a network's or a state dict's weights as safetensors.

    Equal weights give equal bytes. The file appears complete or not at all: it is written beside
    `path`, synced and renamed.
    """
    content = safetensors_save(_plain(weights))
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load_weights(path: Path) -> dict[str, Tensor]:
    """Weights of a safetensors file in order of names; tensors on the CPU.

    Raises `CheckpointError` if the file is absent or damaged.
    """
    try:
        weights = safetensors_load(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    except (SafetensorError, *UNREADABLE) as error:
        raise CheckpointError(
            f"{path}: damaged, or not a safetensors file ({_summary(error)})"
        ) from error
    return dict(sorted(weights.items()))  # safetensors gives them in any order


def weights_digest(weights: nn.Module | Mapping[str, Tensor]) -> str:
    """Sha256, as hex, over all names, dtypes, shapes and values, in order of names.

    It knows nothing of files, memory layout or device: the same weights have the same digest
    whatever they were read from.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(_plain(weights).items()):
        header = [name, str(tensor.dtype).removeprefix("torch."), list(tensor.shape)]
        digest.update(json.dumps(header).encode() + b"\n")
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _plain(weights: nn.Module | Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies on the CPU that share no memory."""
    state = weights.state_dict() if isinstance(weights, nn.Module) else weights
    return {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in state.items()
    }


def _find_state(content: Any, path: Path) -> dict[str, Tensor]:
    """The state dict in a `.pth` file's content."""
    found = content
    if isinstance(content, Mapping):
        for key in ("model", "state_dict"):
            if isinstance(content.get(key), Mapping):
                found = content[key]
                break
    if not isinstance(found, Mapping):
        raise CheckpointError(f"{path}: holds a {type(found).__name__}, not a state dict")
    others = [repr(name) for name, value in found.items() if not _is_weight(name, value)]
    if others or not found:
        what = f"entries that are no weights ({', '.join(others[:8])})" if others else "no entries"
        raise CheckpointError(
            f"{path}: holds no state dict, neither at the top nor under 'model' or 'state_dict': "
            f"it has {what}"
        )
    return {name: tensor.detach() for name, tensor in found.items()}


def _is_weight(name: Any, value: Any) -> bool:
    is_dense = isinstance(value, Tensor) and value.layout == torch.strided
    if not isinstance(name, str) or not is_dense:
        return False
    return value.device.type == "cpu" and not value.is_quantized  # "meta" holds no numbers


def _strip_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names without the `module.` that `DataParallel` puts before each of them."""
    if all(name.startswith("module.") for name in state):
        return {name.removeprefix("module."): tensor for name, tensor in state.items()}
    return state


def _describe(tensor: Tensor) -> str:
    """Shape and kind of number; a float of another width fits."""
    kind = "float" if tensor.is_floating_point() else str(tensor.dtype).removeprefix("torch.")
    return f"{kind} {list(tensor.shape)}"


def _summary(error: Exception) -> str:
    """Type and first sentence."""
    text = f"{type(error).__name__}: {error}".splitlines()[0]
    return text.split(". ")[0].rstrip(": ")
