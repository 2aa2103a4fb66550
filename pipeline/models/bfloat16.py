"""bfloat16 on every processor: by its instructions or, without them, by float32 and rounding.

A convolution in bfloat16 multiplies rounded numbers, adds up in float32 and rounds the sum. A processor
without instructions for it is left with torch's plain loops, which take many times as long as float32.
"""

import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

LAYERS = {torch.conv1d, torch.conv2d, torch.conv3d, torch.nn.functional.linear}


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device computes in bfloat16 by instructions of its own."""
    if device.type != "cpu":
        return True
    if platform.machine().lower() in ("x86_64", "amd64"):
        # Not mkldnn's question, which any AVX-512 answers with yes.
        return bool(torch.cpu._is_avx512_bf16_supported())
    available = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return bool(available and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def fast_bfloat16(device: torch.device, *, asked: bool) -> AbstractContextManager[Any]:
    """In it, convolutions and linear layers in bfloat16 take hardly longer than in float32.

    Those that autocast, or their input, asks to be computed in bfloat16. On a device with instructions it
    changes nothing. Without, inputs and weights are rounded to bfloat16, the layer is computed in float32
    and its output rounded; autograd does the same with the gradients. The numbers are those of the
    instructions but for the order of the sums.

    Args:
        asked: whether anything is computed in bfloat16; if not, nothing changes.
    """
    return nullcontext() if not asked or has_bfloat16(device) else _Rounding()


class _Rounding(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = kwargs or {}
        if func not in LAYERS or not _in_bfloat16(*args, *named.values()):
            return func(*args, **named)
        rounded = {name: _rounded(value) for name, value in named.items()}
        with torch.autocast("cpu", enabled=False):
            return func(*map(_rounded, args), **rounded).bfloat16()


def _in_bfloat16(*values: Any) -> bool:
    if torch.is_autocast_enabled("cpu"):
        return torch.get_autocast_dtype("cpu") == torch.bfloat16
    return any(isinstance(value, Tensor) and value.dtype == torch.bfloat16 for value in values)


def _rounded(value: Any) -> Any:
    return value.bfloat16().float() if isinstance(value, Tensor) else value
