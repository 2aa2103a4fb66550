"""Weights in and out: safetensors files, and whether weights are those of a network.

Checkpoints that others wrote are read by `pipeline.tools.foreign`.
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

_SHOWN_NAMES = 4  # of those that do not fit


class CheckpointError(DecantError):
    """A file of weights cannot be read, or does not fit the network."""


def load_into(
    network: nn.Module,
    state: Mapping[str, Tensor],
    *,
    source: str = "the checkpoint",
    name: str | None = None,
) -> None:
    """Copy weights into a network; every name, shape and kind of number must be the network's.

    `source` and `name` are what messages call the weights and the network. Raises `CheckpointError`
    that counts the missing, unexpected and unfitting weights and names the first few, or that names
    numbers no network can have; the network is then unchanged.
    """
    expected: dict[str, Tensor] = network.state_dict()
    misfit = compare(state, expected)
    if misfit.count:
        what = f"{source} ({len(state)} entries) does not fit {name or type(network).__name__}"
        raise CheckpointError(f"{what}: {misfit}")
    converted = {key: state[key].to(tensor.dtype) for key, tensor in expected.items()}
    if problem := _impossible(converted):
        raise CheckpointError(
            f"{source}: {problem}: the training diverged, or the file is damaged; take another one"
        )
    network.load_state_dict(converted, strict=True)


@dataclass(frozen=True)
class Misfit:
    """How weights differ from a network's: names, and of the unfitting ones shapes too."""

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
        parts = (
            (self.missing, "missing"),
            (self.unexpected, "unexpected"),
            (self.unfitting, "of another shape"),
        )
        listed = [f"{len(names)} {what} ({_first_few(names)})" for names, what in parts if names]
        return f"{', '.join(listed)}. Is {hint}?"


def compare(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> Misfit:
    """What of a state dict differs from a network's; a float of another width fits."""
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


def _first_few(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN_NAMES])
    return shown + (", ..." if len(names) > _SHOWN_NAMES else "")


def _impossible(state: Mapping[str, Tensor]) -> str | None:
    """Which weight no network can work with, and why."""
    for name, tensor in state.items():
        if not tensor.isfinite().all():
            return f"{name} holds infinite numbers or NaN"
        if name.endswith("running_var") and (tensor < 0).any():
            return f"{name} holds negative variances"
    return None


def save_weights(weights: nn.Module | Mapping[str, Tensor], path: Path) -> None:
    """Write a network's or a state dict's weights as safetensors.

    Equal weights give equal bytes. The file appears complete or not at all. Raises StorageError where
    the file system refuses.
    """
    durable_write(path, safetensors_save(_plain(weights)))


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
            f"{path}: damaged, or not a safetensors file ({summary(error)}). A checkpoint of another "
            "kind is converted by `decant import-teacher`"
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


def _describe(tensor: Tensor) -> str:
    """Shape and kind of number; a float of another width fits."""
    kind = "float" if tensor.is_floating_point() else str(tensor.dtype).removeprefix("torch.")
    return f"{kind} {list(tensor.shape)}"


def summary(error: Exception) -> str:
    """Type and first sentence."""
    text = f"{type(error).__name__}: {error}".splitlines()[0]
    return text.split(". ")[0].rstrip(": ")
