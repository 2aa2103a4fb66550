"""A network made ready to answer only: batch normalisation folded away, and optionally bfloat16.

In eval mode a batch normalisation is a fixed scale and shift of each channel, which the convolution
before it can do as well: one pass over the activations less. The sums are the same up to rounding.
"""

import copy
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pipeline.dump.params import Precision
from pipeline.models.network import Network

LOWER: Precision = "bfloat16"


def ready(network: Network, image_size: tuple[int, int], precision: Precision) -> Network:
    """A copy of a network, in eval mode, whose answers are computed as fast as they can be.

    In bfloat16 all but the classifier is computed in that precision; the features lose as much, the
    logits get no further rounding.

    Args:
        image_size: height and width of the images, in pixels.
    """
    made = folded(network, image_size)
    if precision == "bfloat16":
        classifier = copy.deepcopy(made.head.state_dict())
        made.to(torch.bfloat16)
        made.head.float().load_state_dict(classifier)
        made.head.register_forward_pre_hook(lambda module, args: (args[0].float(),))
    return made


def folded(network: Network, image_size: tuple[int, int]) -> Network:
    """A copy in eval mode in which convolutions do what the batch normalisations after them did.

    Only norms that read nothing but what a convolution wrote are folded, and only where both are torch's own
    and have all their numbers.
    """
    made = copy.deepcopy(network).eval()
    for convolution, norm in list(_pairs(made, image_size)):
        weight, bias = _fold(convolution, norm)
        convolution.weight.data.copy_(weight)  # keeps its memory layout
        convolution.bias = nn.Parameter(bias)
        # In place: it may have several names, or be in a list of the user's own.
        norm.__class__ = nn.Identity  # type: ignore[assignment]
    return made


@torch.no_grad()
def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution that also normalises; computed in float64."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    shift = norm.bias.double() - norm.running_mean.double() * scale
    if convolution.bias is not None:
        shift = shift + convolution.bias.double() * scale
    weight = convolution.weight.double() * scale.view(-1, 1, 1, 1)
    return weight.to(convolution.weight.dtype), shift.to(convolution.weight.dtype)


def _pairs(
    network: Network, image_size: tuple[int, int]
) -> Iterator[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Convolutions and the norms that read their output, found by following an image through.

    Left out where anything else reads the output, such as a shortcut, or the weights, and where either
    is used more than once.
    """
    tracer, hooks = _Readers(), []
    for module in filter(_is_plain, network.modules()):
        if isinstance(module, nn.Conv2d):
            hooks.append(module.register_forward_hook(tracer.note_output))
        elif isinstance(module, nn.BatchNorm2d):
            hooks.append(module.register_forward_pre_hook(tracer.note_input))
    parameter = next(network.parameters())
    image = torch.zeros(1, 3, *image_size, device=parameter.device, dtype=parameter.dtype)
    with torch.no_grad(), tracer:
        network(image)
    for hook in hooks:
        hook.remove()
    uses = Counter(module for module, _ in chain(tracer.outputs, tracer.inputs))
    for convolution, output in tracer.outputs:
        readers = [norm for norm, read in tracer.inputs if read is output]
        if len(readers) == tracer.count(output) == tracer.count(convolution.weight) == 1:
            norm = readers[0]
            if uses[convolution] == uses[norm] == 1:
                yield convolution, norm


def _is_plain(module: nn.Module) -> bool:
    """Whether a convolution or norm does with its own numbers what torch's does, and nothing else.

    Subclasses may compute their weights anew at each call, as parametrisations and hooks do.
    """
    if module._forward_hooks or module._forward_pre_hooks:
        return False
    if type(module) is nn.BatchNorm2d:
        return module.affine and module.track_running_stats
    return type(module) is nn.Conv2d


class _Readers(TorchFunctionMode):
    """Notes what convolutions write, what norms read, and every tensor that an operation reads."""

    def __init__(self) -> None:
        super().__init__()
        self.outputs: list[tuple[nn.Conv2d, Tensor]] = []
        self.inputs: list[tuple[nn.BatchNorm2d, Tensor]] = []
        self._read: list[Tensor] = []

    def note_output(self, module: nn.Module, args: Any, output: Any) -> None:
        """Hook after a convolution."""
        assert isinstance(module, nn.Conv2d)
        self.outputs.append((module, output))

    def note_input(self, module: nn.Module, args: Any) -> None:
        """Hook before a norm."""
        assert isinstance(module, nn.BatchNorm2d)
        self.inputs.append((module, args[0]))

    def count(self, tensor: Tensor) -> int:
        """How many operations have read a tensor."""
        return sum(read is tensor for read in self._read)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called in place of every operation."""
        result = func(*args, **(kwargs or {}))
        if not isinstance(result, int | bool | torch.Size):  # not a mere question such as its shape
            given = chain(args, (kwargs or {}).values())
            flat = chain.from_iterable(a if isinstance(a, list | tuple) else [a] for a in given)
            self._read += [a for a in flat if isinstance(a, Tensor)]
        return result
