"""What convolutions are computed in."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
OPERATORS = (aten.conv2d.default, aten.convolution.default, aten.convolution_backward.default)


class Convolutions(TorchDispatchMode):
    """Notes the precisions of all convolutions in it, forward and backward."""

    def __init__(self) -> None:
        super().__init__()
        self.precisions: set[torch.dtype] = set()

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func in OPERATORS:
            self.precisions.add(args[0].dtype)
        return func(*args, **(kwargs or {}))
