"""Learning-rate schedules against their closed forms."""

import itertools
import math

import pytest

from pipeline.training.params import Schedule, TrainingParams

FIELD = Schedule(name="step", milestones=(150, 180, 210), factor=0.1)


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [
        (0, 1),
        (149, 1),
        (149.999, 1),
        (150, 0.1),
        (179.999, 0.1),
        (180, 0.01),
        (209.5, 0.01),
        (210, 0.001),
        (239.99, 0.001),
    ],
)
def test_step_falls_at_the_milestones(epoch, expected):
    assert FIELD.multiplier(epoch, 240) == pytest.approx(expected, rel=1e-12)


def test_step_without_milestones_is_constant():
    assert {Schedule(name="step").multiplier(epoch, 10) for epoch in (0, 5, 9.9)} == {1.0}


@pytest.mark.parametrize(
    ("progress", "expected"),
    [(0, 1), (1 / 4, (2 + math.sqrt(2)) / 4), (1 / 3, 0.75), (1 / 2, 0.5), (2 / 3, 0.25), (1, 0)],
)
@pytest.mark.parametrize("epochs", [1, 12])
def test_cosine(progress, expected, epochs):
    actual = Schedule(name="cosine").multiplier(progress * epochs, epochs)
    assert actual == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [(0, 0.04), (1, 0.04 + 0.96 / 4), (2, 0.52), (4, 1), (8, 0.75), (10, 0.5), (12, 0.25), (16, 0)],
)
def test_one_cycle(epoch, expected):
    schedule = Schedule(name="one_cycle", warmup=0.25)
    assert schedule.multiplier(epoch, 16) == pytest.approx(expected, abs=1e-12)


def test_one_cycle_rises_and_falls_without_a_jump():
    schedule = Schedule(name="one_cycle", warmup=0.3)
    values = [schedule.multiplier(step / 100, 10) for step in range(1001)]
    peak = values.index(max(values))
    assert peak == 300
    assert values[:301] == sorted(values[:301])
    assert values[300:] == sorted(values[300:], reverse=True)
    assert max(abs(b - a) for a, b in itertools.pairwise(values)) < 0.005


@pytest.mark.parametrize("warmup", [0, 1])
def test_one_cycle_at_the_ends_of_warmup(warmup):
    schedule = Schedule(name="one_cycle", warmup=warmup)
    assert schedule.multiplier(0, 10) == pytest.approx(1 if warmup == 0 else 0.04)
    assert schedule.multiplier(5, 10) == pytest.approx(0.5 if warmup == 0 else 0.52)
    assert schedule.multiplier(10, 10) == pytest.approx(0)


@pytest.mark.parametrize("milestones", [(3, 2), (2, 2)])
def test_milestones_increase(milestones):
    with pytest.raises(ValueError, match="milestones must increase"):
        Schedule(name="step", milestones=milestones)


@pytest.mark.parametrize("name", ["cosine", "one_cycle"])
def test_milestones_belong_to_step(name):
    with pytest.raises(ValueError, match=f"not to {name}"):
        Schedule(name=name, milestones=(3,))


def test_milestones_lie_within_training():
    options = {"batch_size": 8, "learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.0}
    TrainingParams(epochs=211, schedule=FIELD, **options)
    with pytest.raises(ValueError, match=r"milestones \[180, 210\] lie beyond the 180 epochs"):
        TrainingParams(epochs=180, schedule=FIELD, **options)
