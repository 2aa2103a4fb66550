"""One network on several processes that torchrun starts: what they compute, and who of them speaks."""

import time
from dataclasses import replace

import pytest
import torch
from ranks_run import COUNT, TRAININGS, train
from torch import nn
from torchrun_samples import torchrun
from training_samples import CPU
from workspaces import ROOT

from pipeline.core.machine import Machine
from pipeline.models.network import Network
from pipeline.results.tensors import read_tensors
from pipeline.training.launch import PATIENCE_SECONDS, first_speaks, is_first, launched
from pipeline.training.norms import SynchronisedNorm, with_statistics
from pipeline.training.ranks import LEAST_IMAGES, Ranks, RanksError, pick_own_device
from pipeline.training.steps import batch_sizes, seed_draws


@pytest.fixture(scope="module", params=[2, pytest.param(3, marks=pytest.mark.slow)])
def trained(request, tmp_path_factory):
    """Number of ranks, and a folder of what each of them ended with."""
    folder = tmp_path_factory.mktemp("ranks")
    torchrun(request.param, ROOT / "tests/ranks_run.py", folder)
    return request.param, folder


def results(trained, name):
    """Of all ranks."""
    count, folder = trained
    return [read_tensors(folder / f"{name}-{rank}.safetensors")[0] for rank in range(count)]


def assert_close(ours, theirs):
    """Equal but for rounding: at most 5e-5 of a tensor's largest value."""
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        atol = 5e-5 * value.abs().max().item()
        torch.testing.assert_close(ours[name], value, rtol=0, atol=atol, msg=name)


class InParts(Network):
    """A network as ranks with statistics of their own have it: a norm for each part of a batch."""

    min_image_size = 4

    def __init__(self, build, count):
        super().__init__()
        self.ranks = nn.ModuleList(build() for _ in range(count))
        for other in self.ranks[1:]:
            for ours, theirs in zip(self.ranks[0].modules(), other.modules(), strict=True):
                theirs._parameters = ours._parameters

    @property
    def head(self):
        return self.ranks[0].head

    def feature_map(self, images):
        if not self.training:
            return self.ranks[0].feature_map(images)
        parts = zip(self.ranks, images.tensor_split(len(self.ranks)), strict=True)
        return torch.cat([network.feature_map(part) for network, part in parts])


@pytest.mark.parametrize("name", TRAININGS)
def test_all_ranks_end_with_the_same_bits(trained, name):
    first, *others = results(trained, name)
    assert first["losses"].isfinite().all()
    assert len(first["losses"]) == 4
    for other in others:
        assert first.keys() == other.keys()
        for key, value in first.items():
            assert torch.equal(value, other[key]), key


@pytest.mark.parametrize("name", ["synchronised", "without-norms", "relations"])
def test_several_ranks_train_what_one_does(trained, name):
    """The loss sees all images of a batch, and synchronised norms do too: rounding is all that differs."""
    assert_close(results(trained, name)[0], train(name))


@pytest.mark.parametrize("name", ["own", "averaged"])
def test_norms_of_parts_against_a_network_of_parts(trained, name):
    count, _ = trained
    networks = []

    def build(classes, seed):
        parts = InParts(lambda: TRAININGS[name].build(classes, seed), count)
        networks.append(parts)
        return parts

    expected = train(name, network=build)
    (network,) = networks
    weights = network.ranks[0].state_dict()
    for key in (key for key in weights if "running" in key and name == "averaged"):
        weights[key] = sum(part.state_dict()[key] for part in network.ranks) / count
    theirs = {**weights, "losses": expected["losses"]}
    actual = results(trained, name)[0]
    assert_close({key: actual[key] for key in theirs}, theirs)
    assert not torch.allclose(expected["losses"], train("synchronised")["losses"], rtol=1e-3)


def test_a_rank_with_other_facts_is_told(trained):
    count, folder = trained
    told = [(folder / f"unequal-{rank}.txt").read_text() for rank in range(count)]
    assert told[0] == ""
    for rank in range(1, count):
        assert told[rank].startswith(f"process {rank} has other code, parameters, data")


def test_networks_of_ranks_draw_apart_and_losses_alike():
    drawn = []
    for number in range(2):
        seed_draws(7, CPU)
        with Ranks(number, 2).drawing_apart(CPU):
            own = torch.rand(3).tolist()
        drawn.append((own, torch.rand(3).tolist()))
    (first, common), (second, other) = drawn
    assert common == other
    assert first not in (second, common)
    assert second != common


def test_waiting_for_a_rank_ends_in_words(tmp_path):
    torchrun(2, ROOT / "tests/ranks_run.py", tmp_path, "late")
    told = (tmp_path / "late-0.txt").read_text()
    assert told.startswith(
        "another of the 2 processes was lost, or kept this one waiting for 0.05 min"
    )
    assert "(Timed out waiting 3000ms" in told
    assert "goes on from the last finished epoch" in told


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("batch_size", [10, 64, 200])
def test_parts_of_all_batches(count, batch_size):
    sizes = batch_sizes(COUNT, batch_size)
    ranks = [Ranks(number, count) for number in range(count)]
    (kept,) = {tuple(rank.sizes(sizes)) for rank in ranks}
    assert kept == tuple(size for size in sizes if count == 1 or size >= LEAST_IMAGES * count)
    assert sum(sizes) - sum(kept) < LEAST_IMAGES * count
    for size in kept:
        parts = [rank.part(torch.arange(size)) for rank in ranks]
        assert torch.equal(torch.cat(parts), torch.arange(size))
        lengths = {len(part) for part in parts}
        assert max(lengths) - min(lengths) <= 1
        assert min(lengths) >= min(size, LEAST_IMAGES)


def test_batches_too_small_for_so_many():
    with pytest.raises(RanksError, match=r"batch_size: 40 processes need batches of 80 .* has 64"):
        Ranks(3, 40).sizes([64, 64, 8])


class Together(Ranks):
    """Two ranks with the same part: what the other says is what this one says."""

    def gathered(self, values):
        return [values, values]

    def add(self, values):
        return values.mul_(2)


@pytest.mark.parametrize("kind", [nn.BatchNorm1d, nn.BatchNorm2d])
@pytest.mark.parametrize("options", [{}, {"momentum": None}, {"affine": False}])
def test_synchronised_norms_of_every_kind(kind, options):
    """Two ranks with the same part of a batch, against the batch of twice that part."""
    shape = (6, 3, 4, 5) if kind is nn.BatchNorm2d else (6, 3)
    norm, other = kind(3, **options), kind(3, **options)
    synchronised = SynchronisedNorm(other, Together(0, 2))
    for _ in range(2):
        part, weights = torch.randn(shape, requires_grad=True), torch.randn(shape)
        batch = torch.cat([part, part]).detach().requires_grad_()
        out, expected = synchronised(part), norm(batch)
        torch.testing.assert_close(out, expected[:6])
        (ours,) = torch.autograd.grad((out * weights).sum(), part)
        (theirs,) = torch.autograd.grad((expected * torch.cat([weights] * 2)).sum(), batch)
        torch.testing.assert_close(ours, theirs[:6], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(dict(synchronised.state_dict()), dict(norm.state_dict()))
    values = torch.randn(shape)
    torch.testing.assert_close(synchronised.eval()(values), norm.eval()(values))


def test_on_a_gpu_torch_s_own_norm_takes_the_weights_and_names():
    network = TRAININGS["own"].build(10, 0)
    weights, names = dict(network.named_parameters()), list(network.state_dict())
    converted = with_statistics(network, "synchronised", Ranks(0, 2), torch.device("cuda"))
    assert [type(module) for module in converted.children()].count(nn.SyncBatchNorm) == 2
    assert list(converted.state_dict()) == names
    assert all(weights[name] is weight for name, weight in converted.named_parameters())


@pytest.mark.parametrize("statistics", ["own", "averaged", "synchronised"])
def test_norms_stay_what_they_are_alone_or_with_their_own_statistics(statistics):
    count = 1 if statistics == "synchronised" else 2
    network = TRAININGS["own"].build(10, 0)
    before = list(network.modules())
    same = with_statistics(network, statistics, Ranks(0, count), torch.device("cpu"))
    assert list(same.modules()) == before


@pytest.fixture
def second_of_two(monkeypatch):
    """As torchrun starts it."""
    variables = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "a"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_who_torchrun_did_not_start_is_alone(second_of_two, monkeypatch):
    assert (launched(), is_first()) == ((1, 2), False)
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    assert (launched(), is_first()) == ((0, 1), True)


def test_each_rank_has_a_gpu_of_its_own(second_of_two, monkeypatch):
    """Stands in for GPUs in the two questions that are asked about them."""
    gpu, machine = torch.device("cuda", 0), Machine(data_root="")
    monkeypatch.setattr("pipeline.training.ranks.work_device", lambda machine: gpu)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_own_device(machine) == torch.device("cuda", 1)
    with pytest.raises(RanksError, match="cuda:1 is one GPU"):
        pick_own_device(replace(machine, device="cuda:1"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(RanksError, match=r"than it has GPUs \(1\): .* --nproc-per-node 1"):
        pick_own_device(machine)
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert pick_own_device(machine) == gpu
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RanksError, match="cluster: torchrun starts processes"):
        pick_own_device(replace(machine, cluster="local", device="cpu"))


def test_other_ranks_let_the_first_speak(second_of_two, monkeypatch):
    waited = []
    monkeypatch.setattr(time, "sleep", waited.append)
    with pytest.raises(ValueError, match="of mine"), first_speaks():
        raise ValueError("of mine")
    assert waited == [PATIENCE_SECONDS]
    with pytest.raises(SystemExit) as end, first_speaks():
        raise KeyboardInterrupt
    assert end.value.code == 130
    monkeypatch.setenv("RANK", "0")
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), first_speaks():
            raise error
    assert waited == [PATIENCE_SECONDS]
