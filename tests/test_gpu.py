"""What only a GPU can show: recorded steps, trainings on streams of their own, and equal answers.

Weights are compared after five steps. Graph and eager run the same kernels in the same order, and so do
one alone and several together: their weights are expected to agree to the last bit, and have to agree
to 1e-4. A CPU adds in other orders, and without TF32.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from training_samples import CPU, PARAMS, Setup, kd_loss, state, taught

from pipeline.compute import set_up
from pipeline.dump.ready import ready
from pipeline.models.registry import build
from pipeline.store.format.manifest import TOLERANCE
from pipeline.training.graphs import no_waiting
from pipeline.training.loop import fit
from pipeline.training.together import MEMORY_MARGIN, Lane, Memory, fit_together
from pipeline.views.batches import EpochData
from pipeline.views.plans import ViewRecipe, draw_view, plan_of
from pipeline.views.predict import place, predict_clean, predict_epoch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

COUNT = 272  # four batches of 64 and one of 16
ONE_EPOCH = replace(PARAMS, epochs=1)
CLOSE = 1e-4


def resnet(classes: int, seed: int):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build("resnet8", classes)


@pytest.fixture(scope="module")
def device():
    actual = torch.device("cuda", torch.cuda.current_device())
    set_up(actual, threads=1)
    return actual


@pytest.fixture(scope="module")
def setup(few_digits, device):
    return Setup(few_digits, resnet, device)


def options(share=0.5, precision="float32", params=ONE_EPOCH):
    return {
        "params": replace(params, precision=precision),
        "source": taught(COUNT, share),
        "loss": kd_loss,
        "count": COUNT,
    }


def assert_close_states(first, second, atol=CLOSE):
    ours, theirs = state(first), state(second)
    assert ours.keys() == theirs.keys()
    worst = 0.0
    for name, value in ours.items():
        difference = (value.double() - theirs[name].double()).abs().max().item()
        assert difference <= atol, f"{name}: {difference}"
        worst = max(worst, difference)
    print(f"largest difference of a weight: {worst:g}")


@pytest.mark.parametrize("share", [0.0, 0.5])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_graph_and_eager_train_the_same_network(setup, share, precision):
    told = []
    graph = setup.trainer(**options(share, precision), warn=told.append)
    eager = setup.trainer(**options(share, precision), graph=False)
    curves = [fit(trainer, setup.test) for trainer in (graph, eager)]
    assert told == []
    assert graph.player.records
    assert not eager.player.records
    assert_close_states(graph, eager)
    assert curves[0].train_loss == pytest.approx(curves[1].train_loss, rel=1e-4)


def test_a_gpu_trains_what_a_cpu_trains(setup, few_digits):
    on_cpu = Setup(few_digits, resnet).trainer(**options())
    on_gpu = setup.trainer(**options())
    losses = [[float(loss) for loss in t.steps(t.stage(0))] for t in (on_cpu, on_gpu)]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    assert losses[1][0] == pytest.approx(losses[0][0], rel=1e-3)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_images_have_the_bits_of_a_cpu(setup, few_digits, share):
    data = taught(320, share)(0)
    rows = torch.from_numpy(np.random.default_rng(0).permutation(320)[:64])
    made = []
    for each in (Setup(few_digits, resnet).batches(), setup.batches()):
        each.start(data)
        there = rows.to(each.bank.device)
        crops = [each.bank.cut(places) for places in each._tables["places"].index_select(1, there)]
        batch = each.batch(there)
        made.append([*crops, batch.teacher_logits, batch.targets, batch.images])
    assert len(made[0]) == (4 if share == 0 else 5)
    for on_cpu, on_gpu in zip(*made, strict=True):
        if on_cpu.dtype == torch.uint8:
            assert torch.equal(on_cpu, on_gpu.cpu())
        torch.testing.assert_close(on_cpu, on_gpu.cpu(), rtol=0, atol=1e-6)


def test_steps_wait_for_nothing(setup):
    trainer = setup.trainer(**options(), graph=False)
    steps = trainer.steps(trainer.stage(0))
    next(steps)
    with no_waiting():
        assert len(list(steps)) == 4


def test_waiting_is_found(setup):
    with pytest.raises(RuntimeError), no_waiting():
        torch.ones(1, device=setup.device).item()
    assert torch.ones(1, device=setup.device).item() == 1  # and allowed again


def hasty_loss(logits, features, batch, epoch):
    scale = 1.0 if epoch.item() < 0.5 else 0.5
    return scale * kd_loss(logits, features, batch, epoch)


def test_what_cannot_be_recorded_is_run_as_it_is(setup):
    told = []
    given = {**options(), "loss": hasty_loss}
    refused = setup.trainer(**given, warn=told.append)
    eager = setup.trainer(**given, graph=False)
    for trainer in (refused, eager):
        fit(trainer, setup.test)
    assert len(told) == 1
    assert "not as a CUDA graph" in told[0]
    assert not refused.player.records
    assert_close_states(refused, eager)
    after = setup.trainer(**options())  # a refusal leaves nothing broken
    fit(after, setup.test)
    assert after.player.records


def test_a_recording_that_fails_in_the_middle_breaks_nothing(setup, monkeypatch):
    """Where warming up has found nothing: the recording itself is given up."""
    told = []
    beside = setup.trainer(**options())
    steps = beside.steps(beside.stage(0))
    next(steps)
    monkeypatch.setattr("pipeline.training.graphs.WARM_UP_STEPS", 0)
    refused = setup.trainer(**{**options(), "loss": hasty_loss}, warn=told.append)
    eager = setup.trainer(**{**options(), "loss": hasty_loss}, graph=False)
    for trainer in (refused, eager):
        fit(trainer, setup.test)
    assert len(told) == 1
    assert len(list(steps)) == 4  # replays of another network, before anything else is recorded
    assert beside.player.records
    assert_close_states(refused, eager)
    monkeypatch.undo()
    after = setup.trainer(**options())
    fit(after, setup.test)
    assert after.player.records


def test_a_stopped_run_goes_on_in_the_same_memory(setup, tmp_path):
    whole = setup.trainer(**options(params=PARAMS))
    curves = fit(whole, setup.test)
    first = setup.trainer(**options(params=PARAMS))
    for _ in first.steps(first.stage(0)):
        pass
    first.finish_epoch(setup.test)
    first.save(tmp_path / "state")
    for _ in first.steps(first.stage(1)):  # lost
        pass
    assert fit(first, setup.test, checkpoint=tmp_path / "state").train_loss == pytest.approx(
        curves.train_loss, rel=1e-4
    )
    assert_close_states(whole, first)


def test_a_loss_that_is_no_number_is_found(setup):
    def loss(logits, features, batch, epoch):
        bad = torch.where((epoch - 0.4).abs() < 1e-3, math.nan, 0.0)
        return kd_loss(logits, features, batch, epoch) + bad

    trainer = setup.trainer(**{**options(), "loss": loss})
    with pytest.raises(RuntimeError, match="loss became nan in epoch 1, step 3 of 5"):
        fit(trainer, setup.test)


@pytest.mark.parametrize("graph", [True, False])
def test_together_each_is_what_it_is_alone(setup, graph):
    ended = {}

    def trainer(seed):
        given = {**options(params=PARAMS), "source": taught(COUNT, 0.5, seed)}
        return setup.trainer(**given, seed=seed, graph=graph)

    def run(seed):
        return Lane(
            start=lambda: trainer(seed),
            test=setup.test,
            on_end=lambda done, at_once: ended.update({seed: (done, at_once)}),
        )

    fit_together([run(seed) for seed in (1, 2, 3, 4)], setup.device)
    assert sorted(ended) == [1, 2, 3, 4]
    assert {at_once for _, at_once in ended.values()} == {4}
    for seed, (done, _) in ended.items():
        alone = trainer(seed)
        fit(alone, setup.test)
        assert_close_states(done, alone)


def test_streams_that_come_round_again_share_nothing(setup):
    """torch has 32 streams and each training takes two: the long one's are given to others in its time."""
    ended = {}

    def trainer(seed, epochs):
        params = replace(PARAMS, epochs=epochs)
        given = {**options(params=params), "source": taught(COUNT, 0.5, seed)}
        return setup.trainer(**given, seed=seed)

    def run(seed, epochs):
        return Lane(
            start=lambda: trainer(seed, epochs),
            test=setup.test,
            on_end=lambda done, at_once: ended.update({seed: done}),
        )

    others = range(1, 36)
    runs = [run(0, 60), *(run(seed, 1) for seed in others)]
    fit_together(runs, setup.device, at_once=2)
    assert list(ended)[-1] == 0, "the long one was to outlive the others"
    alone = trainer(0, 60)
    fit(alone, setup.test)
    assert_close_states(ended[0], alone)


def test_memory_of_a_training_is_measured(setup):
    torch.cuda.synchronize()
    memory = Memory(setup.device)
    trainer = setup.trainer(**options())
    next(trainer.steps(trainer.stage(0)))
    memory.measure_last()
    total = torch.cuda.mem_get_info(setup.device)[1]
    assert 0 < memory.needed < total
    assert memory.has_room() == (memory.free() >= MEMORY_MARGIN * memory.needed)
    memory.needed = total
    assert not memory.has_room()


def trained(setup):
    trainer = setup.trainer(**options(0.0, params=PARAMS))
    fit(trainer, setup.test)
    return trainer.network


def test_a_gpu_answers_what_a_cpu_answers(setup, few_digits):
    """What a dump writes, within what a manifest tolerates."""
    network = trained(setup)
    other = resnet(10, 0)
    other.load_state_dict({name: value.cpu() for name, value in network.state_dict().items()})
    place(other, CPU)
    recipe = ViewRecipe(pad=2, flip=False, draw="random", alpha=1.0, seed=0)
    data = EpochData(plan_of(draw_view("mixed", recipe, 0, 320)))
    actual = predict_epoch(network, setup.batches(), data, 100)
    folded = predict_epoch(ready(network, (16, 16), "float32"), setup.batches(), data, 100)
    expected = predict_epoch(other, Setup(few_digits, resnet).batches(), data, 100)
    for answers in (actual, folded):
        for ours, theirs in zip(answers, expected, strict=True):
            assert np.abs(ours - theirs).max() <= TOLERANCE
    clean = predict_clean(network, setup.test.bank, 64)
    expected = predict_clean(other, Setup(few_digits, resnet).test.bank, 64)
    assert np.abs(clean[0] - expected[0]).max() <= TOLERANCE


def test_bfloat16_answers(setup):
    network = trained(setup)
    full, _ = predict_clean(network, setup.test.bank, 64)
    made = ready(network, (16, 16), "bfloat16")
    lower, _ = predict_clean(made, setup.test.bank, 64)
    assert all(not isinstance(module, nn.BatchNorm2d) for module in made.modules())
    error = np.linalg.norm(lower - full) / np.linalg.norm(full)
    assert 0 < error < 0.03
