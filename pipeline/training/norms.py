"""Batch normalisation of a network that is trained on several ranks: `training.batch_statistics`.

- `synchronised`: each batch is normalised by the mean and variance of all its images, as by one rank.
- `own`: each rank normalises its part of a batch by that part's mean and variance. The running statistics,
  by which a trained network normalises, are those of rank 0.
- `averaged`: as `own`, but running means and variances are averaged over the ranks after each epoch. The
  variance of the means between the ranks is not part of that.

After each epoch all ranks have the same running statistics. One rank alone is not touched by any of this.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline.training.params import BatchStatistics
from pipeline.training.ranks import Ranks

N = TypeVar("N", bound=nn.Module)


def with_statistics(
    network: N, statistics: BatchStatistics, ranks: Ranks, device: torch.device
) -> N:
    """A network whose batch normalisation sees what `statistics` says; its weights stay the same objects.

    On a GPU torch's SyncBatchNorm does the work; it refuses a CPU.
    """
    if ranks.alone or statistics != "synchronised":
        return network
    if device.type == "cuda":
        converted: N = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        return converted
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, _BatchNorm):
                setattr(module, name, SynchronisedNorm(child, ranks))
    return network


def settle(network: nn.Module, statistics: BatchStatistics, ranks: Ranks) -> None:
    """Give all ranks the same running statistics, at the end of an epoch."""
    running = [buffer for buffer in network.buffers() if buffer.is_floating_point()]
    if statistics == "averaged":
        ranks.average(running)
    else:
        ranks.take_first(running)


class SynchronisedNorm(_BatchNorm):
    """A batch normalisation that takes mean and variance over the images of all ranks.

    It has the weights and the running statistics of the norm that it replaces, as the same objects.
    """

    def __init__(self, norm: _BatchNorm, ranks: Ranks) -> None:
        super().__init__(
            norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats
        )
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked
        self.train(norm.training)
        self._ranks = ranks

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected at least two dimensions, found {input.dim()}")

    def forward(self, input: Tensor) -> Tensor:
        """Normalise a part of a batch, [b, C, ...]; computed in float32."""
        if not self.training:
            return super().forward(input)
        values = input.float()
        mean, variance, count = self._statistics(values.detach())
        self._track(mean, variance * count / (count - 1))
        deviation = (variance + self.eps).rsqrt()
        out: Tensor = _Normalise.apply(  # type: ignore[no-untyped-call]
            values, mean, deviation, count, self._ranks.add
        )
        if self.affine:
            out = out * _along(self.weight, out) + _along(self.bias, out)
        return out.to(input.dtype)

    def _statistics(self, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean [C], variance [C] and number of the values of all ranks.

        Joined from the means and squared deviations of the parts (Chan et al. 1979), since a difference
        of sums of squares would cancel.
        """
        dims = _all_but_channels(values)
        mean = values.mean(dims)
        squares = (values - _along(mean, values)).square().sum(dims)
        count = mean.new_full((1,), values.numel() // len(mean))
        parts = torch.stack(self._ranks.gathered(torch.cat([mean, squares, count])))
        means, deviations, counts = torch.split(parts, [len(mean), len(mean), 1], dim=1)
        total = counts.sum()
        mean = (means * counts).sum(0) / total
        variance = (deviations + counts * (means - mean).square()).sum(0) / total
        return mean, variance, total

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


class _Normalise(torch.autograd.Function):
    """(values - mean) * deviation, whose gradient knows that both depend on the values of all ranks."""

    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,
        mean: Tensor,
        deviation: Tensor,
        count: Tensor,
        add: Callable[[Tensor], Tensor],
    ) -> Tensor:
        out = (values - _along(mean, values)) * _along(deviation, values)
        ctx.save_for_backward(out, deviation, count)
        ctx.add = add
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        out, deviation, count = ctx.saved_tensors
        dims = _all_but_channels(out)
        sums = torch.cat([gradient.sum(dims), (gradient * out).sum(dims)])
        by_mean, by_variance = (ctx.add(sums) / count).chunk(2)
        inner = gradient - _along(by_mean, out) - out * _along(by_variance, out)
        return inner * _along(deviation, out), None, None, None, None


def _all_but_channels(values: Tensor) -> tuple[int, ...]:
    return (0, *range(2, values.dim()))


def _along(channels: Tensor, values: Tensor) -> Tensor:
    """Numbers per channel [C] in the shape of values [b, C, ...], for broadcasting."""
    return channels.view(1, -1, *[1] * (values.dim() - 2))
