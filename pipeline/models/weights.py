"""Read, write, compare and digest the weights of networks; files are safetensors.

Checkpoints from elsewhere are read by `pipeline.tools.foreign`.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as safetensors_load
from safetensors.torch import save as safetensors_save
from torch import Tensor, nn

from pipeline.core.arrays import UNREADABLE
from pipeline.core.errors import DecantError
from pipeline.core.files import durable_write

_SHOWN_NAMES = 4  # in a message


class CheckpointError(DecantError):
    """A file of weights that cannot be read, or weights that do not fit the network."""


def load_into(
    network: nn.Module,
    state: Mapping[str, Tensor],
    *,
    source: str = "the checkpoint",
    name: str | None = None,
) -> None:
    """Copy weights into a network; all names, shapes and number types must match the network's.

    `source` and `name` are what messages call the weights and the network. Raises `CheckpointError`, and
    leaves the network unchanged, if weights are missing, unexpected or of another shape (the message
    counts them and names the first few), or are infinite, NaN or negative variances.
    """
    expected: dict[str, Tensor] = network.state_dict()
    misfit = compare(state, expected)
    if misfit.count:
        network_name = name or type(network).__name__
        raise CheckpointError(
            f"{source} ({len(state)} entries) does not fit {network_name}: {misfit}"
        )
    converted = {key: state[key].to(tensor.dtype) for key, tensor in expected.items()}
    if problem := _invalid_values(converted):
        raise CheckpointError(
            f"{source}: {problem}: the training diverged, or the file is damaged; use another one"
        )
    network.load_state_dict(converted, strict=True)


@dataclass(frozen=True)
class Misfit:
    """How weights differ from a network's.

    `missing` and `unexpected` are names; `unfitting` are names with both shapes. `other_classes`: only
    the classifier does not fit.
    """

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    unfitting: tuple[str, ...]
    other_classes: bool

    @property
    def count(self) -> int:
        """Number of weights that differ."""
        return len(self.missing) + len(self.unexpected) + len(self.unfitting)

    def __str__(self) -> str:
        hint = "the number of classes right" if self.other_classes else "it of another architecture"
        parts = {
            "missing": self.missing,
            "unexpected": self.unexpected,
            "of another shape": self.unfitting,
        }
        counts = [
            f"{len(names)} {part} ({first_few(names)})" for part, names in parts.items() if names
        ]
        return f"{', '.join(counts)}. Is {hint}?"


def compare(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> Misfit:
    """How a state dict differs from a network's; floats of another width fit.

    >>> weights = {"fc.weight": torch.zeros(10, 4), "fc.bias": torch.zeros(10)}
    >>> print(compare({"fc.weight": torch.zeros(10, 4)}, weights))
    1 missing (fc.bias). Is it of another architecture?
    """
    unfitting = [
        name
        for name, tensor in expected.items()
        if name in state and _describe(state[name]) != _describe(tensor)
    ]
    missing = tuple(name for name in expected if name not in state)
    unexpected = tuple(name for name in state if name not in expected)
    # The classifier's weights and biases are the only two that depend on the class count.
    head = 0 < len(unfitting) <= 2 and all(
        state[name].shape[1:] == expected[name].shape[1:] for name in unfitting
    )
    return Misfit(
        missing=missing,
        unexpected=unexpected,
        unfitting=tuple(
            f"{name}: {_describe(state[name])}, in the network {_describe(expected[name])}"
            for name in unfitting
        ),
        other_classes=head and not missing and not unexpected,
    )


def first_few(names: Sequence[str], most: int = _SHOWN_NAMES) -> str:
    """The first names, for a message.

    >>> first_few(["a", "b", "c"], 2)
    'a, b, ...'
    """
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def _invalid_values(state: Mapping[str, Tensor]) -> str | None:
    """The first weight with values that no network can use."""
    for name, tensor in state.items():
        if not tensor.isfinite().all():
            return f"{name} holds infinite numbers or NaN"
        if name.endswith("running_var") and (tensor < 0).any():
            return f"{name} holds negative variances"
    return None


def save_weights(weights: nn.Module | Mapping[str, Tensor], path: Path) -> None:
    """Write the weights of a network or a state dict as safetensors, atomically.

    Equal weights give equal bytes. Raises StorageError if the file cannot be written.
    """
    durable_write(path, safetensors_save(cpu_copies(weights)))


def load_weights(path: Path) -> dict[str, Tensor]:
    """The weights in a safetensors file, sorted by name; tensors on the CPU.

    Raises `CheckpointError` if the file is missing or damaged.
    """
    try:
        weights = safetensors_load(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    except (SafetensorError, *UNREADABLE) as error:
        raise CheckpointError(
            f"{path}: damaged, or not a safetensors file ({summary(error)}). A checkpoint of another "
            "kind is converted by `decant import-teacher`"
        ) from error
    return dict(sorted(weights.items()))  # safetensors returns them in any order


def weights_digest(weights: nn.Module | Mapping[str, Tensor]) -> str:
    """Sha256 (hex) of all names, dtypes, shapes and values, sorted by name.

    It does not depend on files, memory layout or device.

    >>> weights_digest({"a": torch.zeros(2), "b": torch.ones(1)})[:16]
    '0c37f90504a9047f'
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(cpu_copies(weights).items()):
        header = [name, str(tensor.dtype).removeprefix("torch."), list(tensor.shape)]
        digest.update(json.dumps(header).encode() + b"\n")
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def cpu_copies(weights: nn.Module | Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies on the CPU that share no memory, as safetensors wants them."""
    state = weights.state_dict() if isinstance(weights, nn.Module) else weights
    return {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in state.items()
    }


def _describe(tensor: Tensor) -> str:
    """Number type and shape; floats of all widths are alike."""
    dtype = "float" if tensor.is_floating_point() else str(tensor.dtype).removeprefix("torch.")
    return f"{dtype} {list(tensor.shape)}"


def summary(error: Exception) -> str:
    """The type and first sentence of an error.

    >>> summary(ValueError("no header. Is this a file?"))
    'ValueError: no header'
    """
    text = f"{type(error).__name__}: {error}".splitlines()[0]
    return text.split(". ")[0].rstrip(": ")
