"""The loop's tables against lists, its SGD against torch's own, and the counters of norms."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.models.registry import build
from pipeline.training.steps import NormCounters, StepTables, sgd

CPU = torch.device("cpu")


def test_tables_are_read_step_by_step():
    order = np.random.default_rng(0).permutation(10)
    rates, progress = [0.5, 0.25, 0.125], [7.0, 7.5, 7.75]
    tables = StepTables(10, 3, CPU)
    for _ in range(2):  # the second epoch starts at the front again
        tables.start(order, rates, progress)
        seen = []
        for step, size in enumerate((4, 4, 2)):
            rows, moment = tables.begin_step(size)
            assert (rows.dtype, moment.shape) == (torch.int64, ())
            assert tables.learning_rate.tolist() == [rates[step]]
            assert moment.item() == progress[step]
            seen += rows.tolist()
            tables.end_step(size, torch.tensor(10.0 + step, requires_grad=True))
        assert seen == order.tolist()
        assert tables.losses.tolist() == [10.0, 11.0, 12.0]
        assert not tables.losses.requires_grad


def test_tables_stay_where_they_are():
    tables = StepTables(6, 2, CPU)
    tables.start(np.arange(6), [1.0, 1.0], [0.0, 0.5])
    places = [tensor.data_ptr() for tensor in tables.state()]
    rate = tables.learning_rate
    for _ in range(2):
        tables.begin_step(3)
        tables.end_step(3, torch.tensor(1.0))
    tables.start(np.arange(6), [2.0, 2.0], [1.0, 1.5])
    tables.begin_step(3)
    assert [tensor.data_ptr() for tensor in tables.state()] == places
    assert rate.tolist() == [2.0]


def test_putting_the_state_back_takes_the_step_back():
    tables = StepTables(6, 2, CPU)
    tables.start(np.array([3, 1, 4, 0, 5, 2]), [1.0, 2.0], [0.0, 0.5])
    before = [tensor.clone() for tensor in tables.state()]
    tables.begin_step(3)
    tables.end_step(3, torch.tensor(9.0))
    for tensor, value in zip(tables.state(), before, strict=True):
        tensor.copy_(value)
    rows, _ = tables.begin_step(4)
    assert rows.tolist() == [3, 1, 4, 0]
    assert tables.learning_rate.tolist() == [1.0]


@pytest.mark.parametrize("momentum", [0.9, 0.0])
def test_sgd_against_torch_without_a_head_start(momentum):
    """Zero momentum at the start gives the bits of none, and a rate in memory those of a number."""
    torch.manual_seed(0)
    network = build("resnet8", 10).to(memory_format=torch.channels_last)
    other = copy.deepcopy(network)
    rate = torch.ones(1)
    ours = sgd(network, rate, momentum=momentum, weight_decay=5e-4)
    theirs = torch.optim.SGD(
        other.parameters(), lr=1.0, momentum=momentum, weight_decay=5e-4, fused=True
    )
    for step in range(4):
        rate.fill_(0.1 / (step + 1))
        theirs.param_groups[0]["lr"] = 0.1 / (step + 1)
        for mine, its in zip(network.parameters(), other.parameters(), strict=True):
            mine.grad = torch.randn_like(mine)
            its.grad = mine.grad.clone()
        ours.step()
        theirs.step()
    for mine, its in zip(network.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, its)


def test_norms_count_an_epoch_at_a_time():
    network = build("resnet8", 10)
    plain = copy.deepcopy(network)
    counters = NormCounters(network)
    names = list(network.state_dict())
    images = torch.randn(4, 3, 16, 16)
    for _ in range(3):
        with counters.paused():
            network(images)
        plain(images)
    assert list(network.state_dict()) == names
    assert network.bn1.num_batches_tracked == 0
    counters.advance(3)
    for name, value in plain.state_dict().items():
        assert torch.equal(value, network.state_dict()[name]), name


def test_counters_come_back_after_an_error():
    network = build("resnet8", 10)
    names = list(network.state_dict())
    counters = NormCounters(network)
    with pytest.raises(KeyError), counters.paused():
        raise KeyError
    assert list(network.state_dict()) == names


def test_norms_that_read_their_counter_keep_it():
    norm = nn.BatchNorm2d(3, momentum=None)  # averages over all batches so far
    counters = NormCounters(norm)
    with counters.paused():
        norm(torch.randn(2, 3, 4, 4))
    counters.advance(1)
    assert norm.num_batches_tracked == 1
