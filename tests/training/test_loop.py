"""The training loop: against SGD by hand, stopped and resumed, diverging, and on real digits."""

import csv
import io
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from convolutions import Convolutions
from torch.nn.functional import cross_entropy
from training_samples import (
    PARAMS,
    Setup,
    assert_equal_states,
    kd_loss,
    state,
    taught,
    with_dropout,
)

from pipeline.hard_labels.epochs import DrawnEpochs, hard_label_loss
from pipeline.models.registry import build
from pipeline.results.tensors import read_tensors
from pipeline.training.loop import fit, fit_stepwise
from pipeline.training.non_finite import FILE, NonFiniteLossError
from pipeline.training.params import Schedule
from pipeline.training.steps import step_seeds
from pipeline.views.batches import EpochData, clean_epoch
from pipeline.views.params import Augmentation
from pipeline.views.plans import epoch_order


@pytest.fixture(scope="module")
def setup(few_digits, tiny_network):
    return Setup(few_digits, tiny_network)


def recording(loss=hard_label_loss):
    """A loss that also notes the size of each batch and the progress that it was told."""
    seen = []

    def compute(logits, features, batch, epoch):
        seen.append((len(logits), epoch.item()))
        return loss(logits, features, batch, epoch)

    return compute, seen


def test_three_steps_against_sgd_by_hand(setup):
    params = replace(PARAMS, epochs=1, schedule=Schedule(name="cosine"))
    trainer = setup.trainer(params, count=192)
    by_hand = setup.build(10, 11).train()
    weights = dict(by_hand.named_parameters())
    velocity = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    reference = setup.trainer(params, count=192).batches
    data = trainer.source(0)
    reference.start(data)
    order = torch.from_numpy(epoch_order(11, 0, 192))
    losses = list(trainer.steps(data))
    for step in range(3):
        batch = reference.batch(order[step * 64 : (step + 1) * 64])
        loss = cross_entropy(by_hand(batch.images), batch.targets)
        assert losses[step].item() == pytest.approx(loss.item(), abs=1e-5)
        gradients = torch.autograd.grad(loss, list(weights.values()))
        rate = 0.05 * (1 + math.cos(math.pi * step / 3)) / 2
        with torch.no_grad():
            for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
                velocity[name] = 0.9 * velocity[name] + gradient + 5e-4 * weight
                weight -= rate * velocity[name]
    for name, parameter in trainer.network.named_parameters():
        torch.testing.assert_close(parameter, weights[name], rtol=0, atol=1e-6)
    for name, parameter in setup.build(10, 11).named_parameters():  # all of them have moved
        assert not torch.equal(parameter, trainer.network.get_parameter(name))


def plain_epoch(setup, source, loss, params, count, epoch, seed):
    """An epoch as anyone would write it: slices of the order, a rate set from outside, no tables."""
    network = setup.build(10, seed).to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.SGD(
        network.parameters(), lr=1.0, momentum=params.momentum, weight_decay=5e-4, fused=True
    )
    batches = setup.batches(count)
    batches.start(source(epoch))
    order = torch.from_numpy(epoch_order(seed, epoch, count))
    losses, rows = [], order.split(params.batch_size)
    for step, chosen in enumerate(rows):
        progress = epoch + step / len(rows)
        rate = params.learning_rate * params.schedule.multiplier(progress, params.epochs)
        optimiser.param_groups[0]["lr"] = rate
        batch = batches.batch(chosen)
        optimiser.zero_grad()
        logits, features = network.forward_features(batch.images)
        value = loss(logits, features, batch, progress)
        value.backward()
        optimiser.step()
        losses.append(value.item())
    return network, optimiser, losses


@pytest.mark.parametrize("share", [0.0, 0.5])
@pytest.mark.parametrize("momentum", [0.9, 0.0])
@pytest.mark.parametrize("count", [320, 200])
def test_an_epoch_has_the_bits_of_one_without_tables(setup, share, momentum, count):
    params = replace(PARAMS, epochs=1, momentum=momentum)
    source = taught(count, share)
    trainer = setup.trainer(params, loss=kd_loss, source=source, count=count)
    losses = [loss.item() for loss in trainer.steps(source(0))]
    trainer.finish_epoch(setup.test)
    network, optimiser, expected = plain_epoch(setup, source, kd_loss, params, count, 0, 11)
    assert losses == expected
    actual = state(trainer)
    for name, value in network.state_dict().items():  # batches that norms have counted, too
        assert torch.equal(value, actual[name]), name
    if momentum:
        for name, parameter in network.named_parameters():
            buffer = optimiser.state[parameter]["momentum_buffer"]
            assert torch.equal(buffer, actual[f"momentum of {name}"]), name


def test_reading_ahead_changes_nothing(setup):
    ahead = setup.trainer(count=200)
    curves = fit(ahead, setup.test)
    trainer = setup.trainer(count=200)
    for epoch in range(3):
        for _ in trainer.steps(trainer.source(epoch)):
            pass
        trainer.finish_epoch(setup.test)
    assert_equal_states(ahead, trainer)
    assert trainer.curves == curves


def test_epochs_with_and_without_mixed_images_take_turns(setup):
    def source(epoch):
        return taught(200, 0.5 if epoch % 2 else 0.0)(epoch)

    trainer = setup.trainer(source=source, loss=kd_loss, count=200)
    fit(trainer, setup.test)
    again = setup.trainer(source=source, loss=kd_loss, count=200)
    again.batches = setup.batches(200)
    for epoch in range(3):
        for _ in again.steps(source(epoch)):
            pass
        again.finish_epoch(setup.test)
        again.batches = setup.batches(200)  # nothing of an epoch is left for the next one
    assert_equal_states(trainer, again)


def test_training_pauses_after_every_step(setup):
    trainer = setup.trainer(count=200)
    paused = fit_stepwise(trainer, setup.test)
    where = [(trainer.epoch, trainer.steps_in_epoch, trainer.epoch_is_over) for _ in paused]
    assert where == [(epoch, step, step == 4) for epoch in range(3) for step in range(1, 5)]
    assert_equal_states(trainer, fitted(setup.trainer(count=200), setup.test))


def fitted(trainer, test):
    fit(trainer, test)
    return trainer


@pytest.mark.parametrize(
    ("count", "sizes"), [(200, [64, 64, 64, 8]), (128, [64, 64]), (40, [40]), (66, [64, 2])]
)
def test_the_last_batch_takes_what_is_left(setup, count, sizes):
    loss, seen = recording()
    trainer = setup.trainer(loss=loss, count=count)
    images = [trainer.images_in_epoch for _ in trainer.steps(trainer.source(0))]
    assert [size for size, _ in seen] == sizes
    assert images == list(np.cumsum(sizes))
    assert trainer.steps_per_epoch == len(sizes)


def test_a_last_batch_of_one_image_is_left_out(setup):
    loss, seen = recording()
    fit(setup.trainer(replace(PARAMS, epochs=1), loss=loss, count=129), setup.test)
    assert [size for size, _ in seen] == [64, 64]


def test_each_epoch_shows_every_image_once_in_the_order_of_its_seed(setup):
    trainer = setup.trainer(replace(PARAMS, epochs=2), count=200)
    shown = []
    gather = trainer.batches.batch
    trainer.batches.batch = lambda rows: (shown.append(rows.numpy().copy()), gather(rows))[1]
    fit(trainer, setup.test)
    assert len(shown) == 8
    for epoch in range(2):
        rows = np.concatenate(shown[4 * epoch : 4 * epoch + 4])
        np.testing.assert_array_equal(rows, epoch_order(11, epoch, 200))


def test_learning_rate_and_progress_of_every_step(setup):
    schedule = Schedule(name="step", milestones=(1, 2), factor=0.5)
    loss, seen = recording()
    rates = []
    trainer = setup.trainer(replace(PARAMS, schedule=schedule), loss=loss, count=200)
    curves = fit(
        trainer,
        setup.test,
        on_step=lambda t, _: rates.append(t.optimiser.param_groups[0]["lr"].item()),
    )
    assert [epoch for _, epoch in seen] == [step / 4 for step in range(12)]
    assert rates == pytest.approx([0.05] * 4 + [0.025] * 4 + [0.0125] * 4)
    assert curves.learning_rate == pytest.approx([0.05, 0.025, 0.0125])


def test_sources_are_asked_once_an_epoch(setup):
    asked = []
    drawn = DrawnEpochs(Augmentation(pad=2, flip=False), None, 7, 100)

    def source(epoch):
        asked.append(epoch)
        return drawn(epoch)

    fit(setup.trainer(source=source, count=100), setup.test)
    assert asked == [0, 1, 2]


def test_errors_of_the_source_are_raised(setup):
    def source(epoch):
        if epoch == 1:
            raise ValueError("view 1 is damaged")
        return clean_epoch(100, 2)

    trainer = setup.trainer(source=source, count=100)
    with pytest.raises(ValueError, match="view 1 is damaged"):
        fit(trainer, setup.test)
    assert trainer.epoch == 1


class StoppedError(Exception):
    """Raised in the middle of training."""


@pytest.mark.parametrize("stops", [(0,), (3,), (4,), (7, 9), (2, 2, 11)])
def test_a_stopped_run_ends_with_the_same_weights(setup, tmp_path, stops):
    whole = setup.trainer(count=200)
    curves = fit(whole, setup.test)
    checkpoint = tmp_path / "state.safetensors"
    for stop in stops:
        trainer = setup.trainer(count=200)

        def on_step(trainer, loss, stop=stop):
            done = 4 * trainer.epoch + math.ceil(trainer.images_in_epoch / 64) - 1
            if done == stop:
                raise StoppedError

        with pytest.raises(StoppedError):
            fit(trainer, setup.test, checkpoint=checkpoint, on_step=on_step)
        assert checkpoint.exists() == (stop >= 4)
    steps = []
    resumed = setup.trainer(count=200)
    again = fit(
        resumed,
        setup.test,
        checkpoint=checkpoint,
        on_step=lambda trainer, loss: steps.append(trainer.epoch),
    )
    assert_equal_states(whole, resumed)
    assert again == curves
    assert steps == [epoch for epoch in range(stops[-1] // 4, 3) for _ in range(4)]


def noisy_loss(logits, features, batch, epoch):
    return hard_label_loss(logits + 0.1 * torch.randn_like(logits), features, batch, epoch)


def test_what_is_drawn_follows_from_the_step(few_digits, tiny_network, tmp_path):
    """A network and a loss that draw: stopped and resumed, whatever else has drawn meanwhile."""
    setup = Setup(few_digits, with_dropout(tiny_network))
    whole, checkpoint = setup.trainer(count=200, loss=noisy_loss), tmp_path / "state"
    curves = fit(whole, setup.test)
    torch.rand(3)
    with pytest.raises(StoppedError):
        fit(
            setup.trainer(count=200, loss=noisy_loss),
            setup.test,
            checkpoint=checkpoint,
            on_step=stop_in_epoch(1),
        )
    torch.rand(5)
    resumed = setup.trainer(count=200, loss=noisy_loss)
    assert fit(resumed, setup.test, checkpoint=checkpoint) == curves
    assert_equal_states(whole, resumed)
    assert (
        len(set(step_seeds(11, 0, 4)) | set(step_seeds(11, 1, 4)) | set(step_seeds(12, 0, 4))) == 12
    )


def test_a_step_that_went_wrong_is_found_again_with_what_it_drew(
    few_digits, tiny_network, tmp_path
):
    setup = Setup(few_digits, with_dropout(tiny_network))
    seen = []

    def loss(logits, features, batch, epoch):
        seen.append(logits.detach().clone())
        return diverging(math.nan, 1.5)(logits, features, batch, epoch)

    with pytest.raises(NonFiniteLossError, match=r"epoch 2, step 3 of 4; "):
        fit(setup.trainer(count=200, loss=loss), setup.test, checkpoint=tmp_path / "state")
    tensors, _ = read_tensors(tmp_path / FILE)
    assert torch.equal(tensors["student.logits"], seen[4 + 2])


def test_tied_weights_reach_a_checkpoint(few_digits, tiny_network, tmp_path):
    def build(classes, seed):
        network = tiny_network(classes, seed)
        network.bn2.bias = network.bn2.weight
        return network

    setup, checkpoint = Setup(few_digits, build), tmp_path / "state"
    whole = setup.trainer(count=128)
    fit(whole, setup.test)
    with pytest.raises(StoppedError):
        fit(setup.trainer(count=128), setup.test, checkpoint=checkpoint, on_step=stop_in_epoch(1))
    resumed = setup.trainer(count=128)
    fit(resumed, setup.test, checkpoint=checkpoint)
    assert resumed.network.bn2.bias is resumed.network.bn2.weight
    assert_equal_states(whole, resumed)


def test_the_time_of_a_resumed_run_is_that_of_all_its_epochs(setup, tmp_path):
    checkpoint = tmp_path / "state.safetensors"
    first = setup.trainer(count=200)
    fit(first, setup.test)
    spent = first.seconds
    first.save(checkpoint)
    resumed = setup.trainer(count=200)
    resumed.load(checkpoint)
    assert resumed.seconds >= spent > 0


def test_a_finished_run_is_not_trained_again(setup, tmp_path):
    checkpoint = tmp_path / "state.safetensors"
    first = setup.trainer(count=100)
    curves = fit(first, setup.test, checkpoint=checkpoint)
    before = checkpoint.read_bytes()
    second = setup.trainer(count=100)
    steps = []
    again = fit(second, setup.test, checkpoint=checkpoint, on_step=lambda *_: steps.append(1))
    assert steps == []
    assert again == curves
    assert_equal_states(first, second)
    assert checkpoint.read_bytes() == before


def diverging(bad: float, at: float):
    def compute(logits, features, batch, epoch):
        loss = hard_label_loss(logits, features, batch, epoch)
        return loss * bad if epoch == at else loss

    return compute


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_the_run(setup, tmp_path, bad):
    checkpoint = tmp_path / "state.safetensors"
    good = setup.trainer(count=200)
    with pytest.raises(StoppedError):
        fit(good, setup.test, checkpoint=checkpoint, on_step=stop_in_epoch(1))
    kept = checkpoint.read_bytes()
    trainer = setup.trainer(count=200, loss=diverging(bad, 1.5))
    with pytest.raises(
        NonFiniteLossError, match=rf"became {bad} in epoch 2, step 3 of 4; "
    ) as caught:
        fit(trainer, setup.test, checkpoint=checkpoint)
    assert "lower learning rate cannot help" in str(caught.value)  # the logits are ordinary ones
    assert checkpoint.read_bytes() == kept
    resumed = setup.trainer(count=200)
    resumed.load(checkpoint)
    assert resumed.epoch == 1
    assert resumed.curves == good.curves


def stop_in_epoch(epoch):
    def on_step(trainer, loss):
        if trainer.epoch == epoch:
            raise StoppedError

    return on_step


def test_a_diverged_first_epoch_leaves_no_checkpoint(setup, tmp_path):
    trainer = setup.trainer(count=200, loss=diverging(math.nan, 0))
    with pytest.raises(NonFiniteLossError, match="epoch 1, step 1 of 4"):
        fit(trainer, setup.test, checkpoint=tmp_path / "state")
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_the_step_that_went_wrong_is_kept(setup, tmp_path):
    """What the file holds is what a training has that stops before the step, and gives its loss again."""
    source = taught(200)
    broken = setup.trainer(count=200, source=source, loss=diverging(math.nan, 1.5))
    with pytest.raises(NonFiniteLossError) as caught:
        fit(broken, setup.test, checkpoint=tmp_path / "state")
    tensors, facts = read_tensors(tmp_path / FILE)
    assert f"load_file('{tmp_path / FILE}')" in str(caught.value)
    assert (facts["epoch"], facts["step"], facts["what"]) == ("2", "3", "loss became nan")

    good = setup.trainer(count=200, source=source)
    steps = fit_stepwise(good, setup.test)
    for _ in range(4 + 2):
        next(steps)
    for name, value in state(good).items():
        key = name.replace("momentum of ", "momentum.")
        if not name.endswith("num_batches_tracked"):  # counted at the end of an epoch
            assert torch.equal(tensors[key if key in tensors else f"network.{name}"], value), name
    rows = torch.from_numpy(epoch_order(11, 1, 200)[2 * 64 : 3 * 64])
    assert torch.equal(tensors["batch.rows"], rows)
    batches = setup.batches(200)
    batches.start(source(1))
    batch = batches.batch(rows)
    for name in ("images", "targets", "teacher_logits"):
        assert torch.equal(tensors[f"batch.{name}"], getattr(batch, name)), name
    assert tensors["batch.places"].shape == (2, 64, 1)
    logits, features = good.network.train().forward_features(tensors["batch.images"])
    assert torch.equal(logits, tensors["student.logits"])
    assert torch.equal(features, tensors["student.features"])
    assert tensors["loss"].isnan()


def rooted(logits, features, batch, epoch):
    """A loss with a root of zero in its gradient, in the last step."""
    root = torch.sqrt((logits * 0).sum()) if epoch == 0.75 else 0.0
    return hard_label_loss(logits, features, batch, epoch) + root


def divided(logits, features, batch, epoch):
    """A user's loss without an epsilon, of a teacher with a constant row."""
    teacher = batch.teacher_logits
    return ((teacher / (teacher.amax(dim=1) - teacher.amin(dim=1))[:, None] - logits) ** 2).mean()


def with_constant_rows(epoch):
    data = taught(200)(epoch)
    data.teacher_logits[:] = 1.5
    return data


@pytest.mark.parametrize(
    ("loss", "learning_rate", "cause"),
    [
        (rooted, 0.05, "its gradient, or the step along it, is not finite"),
        (
            divided,
            0.05,
            "64 of 64 rows of the teacher's are constant: the loss function itself returned inf",
        ),
        (hard_label_loss, 1e18, "training has diverged; lower training.learning_rate"),
    ],
)
def test_the_likely_cause_is_named(setup, loss, learning_rate, cause):
    params = replace(PARAMS, learning_rate=learning_rate)
    trainer = setup.trainer(params, count=200, source=with_constant_rows, loss=loss)
    with pytest.raises(NonFiniteLossError, match=cause):
        fit(trainer, setup.test)


def test_weights_that_are_no_numbers_reach_no_checkpoint(setup, tmp_path):
    """The last step's loss is finite, its gradient is not, and nothing is evaluated this epoch."""

    def loss(logits, features, batch, epoch):
        root = torch.sqrt((logits * 0).sum()) if epoch == 0.75 else 0.0
        return hard_label_loss(logits, features, batch, epoch) + root

    trainer = setup.trainer(replace(PARAMS, evaluate_every=3), count=200, loss=loss)
    with pytest.raises(
        NonFiniteLossError, match=r"weights became .* in epoch 1, step 4 of 4; likely"
    ):
        fit(trainer, setup.test, checkpoint=tmp_path / "state")
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_a_network_in_eval_mode_is_trained_all_the_same(setup):
    params = replace(PARAMS, epochs=1)
    first, second = setup.trainer(params, count=128), setup.trainer(params, count=128)
    second.network.eval()
    for trainer in (first, second):
        fit(trainer, setup.test)
    assert_equal_states(first, second)
    assert first.network.bn1.num_batches_tracked == 2


def test_curves(setup):
    params = replace(PARAMS, evaluate_every=2)
    losses = []
    trainer = setup.trainer(params, count=128)
    curves = fit(trainer, setup.test, on_step=lambda _, loss: losses.append(loss.item()))
    rows = list(csv.DictReader(io.StringIO(curves.to_csv())))
    assert list(rows[0]) == [
        "epoch",
        "learning_rate",
        "train_loss",
        "test_top1_accuracy",
        "test_loss",
    ]
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    for epoch, row in enumerate(rows):
        assert float(row["train_loss"]) == pytest.approx(np.mean(losses[2 * epoch : 2 * epoch + 2]))
        progress = epoch + 0.5
        rate = 0.05 * params.schedule.multiplier(progress, 3)
        assert float(row["learning_rate"]) == pytest.approx(rate, rel=1e-6)
    assert [row["test_top1_accuracy"] == "" for row in rows] == [True, False, False]
    assert [row["test_loss"] == "" for row in rows] == [True, False, False]
    labels = torch.from_numpy(setup.data.test.labels).long()
    images = setup.test.bank.normalise(torch.from_numpy(setup.data.test.images))
    with torch.no_grad():
        logits = trainer.network.eval()(images).double()
    accuracy = (logits.argmax(dim=1) == labels).double().mean().item()
    assert float(rows[2]["test_top1_accuracy"]) == pytest.approx(accuracy, abs=1e-6)
    assert float(rows[2]["test_loss"]) == pytest.approx(
        cross_entropy(logits, labels).item(), abs=1e-5
    )


def test_test_logits_that_are_no_numbers(setup, tiny_network):
    network = tiny_network(10)
    with torch.no_grad():
        network.fc.bias[3] = math.nan
    with pytest.raises(NonFiniteLossError, match="test set"):
        setup.test.evaluate(network)


@pytest.mark.parametrize("instructions", [True, False])
def test_lower_precision_keeps_weights_and_losses_in_float32(instructions, setup, monkeypatch):
    monkeypatch.setattr("pipeline.models.bfloat16.has_bfloat16", lambda device: instructions)
    losses = []
    trainer = setup.trainer(replace(PARAMS, epochs=1, precision="bfloat16"), count=128)
    with Convolutions() as convolutions:
        fit(trainer, setup.test, on_step=lambda _, loss: losses.append(loss))
    assert (torch.bfloat16 in convolutions.precisions) == instructions
    full = setup.trainer(replace(PARAMS, epochs=1), count=128)
    fit(full, setup.test)
    assert {loss.dtype for loss in losses} == {torch.float32}
    assert {parameter.dtype for parameter in trainer.network.parameters()} == {torch.float32}
    weight, other = trainer.network.conv2.weight, full.network.conv2.weight
    assert not torch.equal(weight, other)
    torch.testing.assert_close(weight, other, rtol=0, atol=0.02)


def test_epoch_data_without_a_teacher(setup):
    trainer = setup.trainer(count=100)
    assert isinstance(trainer.source(0), EpochData)
    assert trainer.source(0).teacher_logits is None


def test_training_lowers_the_loss_on_real_digits(digits):
    setup = Setup(digits, lambda classes, seed: build("resnet8", classes))
    torch.manual_seed(0)
    drawn = DrawnEpochs(Augmentation(pad=2, flip=False), None, 7, 960)
    params = replace(PARAMS, batch_size=32, learning_rate=0.1, evaluate_every=3)
    curves = fit(setup.trainer(params, source=drawn, count=960), setup.test)
    assert curves.train_loss[0] > 1
    assert curves.train_loss[-1] < 0.4 * curves.train_loss[0]
    assert curves.test_top1_accuracy[-1] > 0.85
