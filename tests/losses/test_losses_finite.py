"""Losses of rows that the formulas alone do not serve: equal, nearly equal, huge; value and gradient."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from loss_samples import OPTIONS

from pipeline.losses import decoupled
from pipeline.losses.registry import bind, scaled_logits
from pipeline.losses.signatures import INPUTS, LOSSES

WITH_TEMPERATURE = [name for name, options in OPTIONS.items() if "temperature" in options]
FLOAT16 = st.floats(-65504, 65504, width=16)
STUDENTS = st.floats(-(2.0**50), 2.0**50, width=32)
# Also those that round to the same float16, and deviations whose squares float32 cannot hold.
TINY = st.sampled_from([0.0, 1e-45, -1e-40, 1e-30, 1e-22, -1e-20, 1e-19, -1e-18, 1e-10])
TEMPERATURES = st.sampled_from([1e-3, 0.1, 1.0, 4.0, 1e3])


def value_of(name, inputs, **options):
    return bind(name)(dict(zip(INPUTS, inputs, strict=True)), **options)


def tables(values, rows, columns):
    return arrays.arrays("float32", (rows, columns), elements=values).map(torch.from_numpy)


@st.composite
def batches(draw):
    """Student logits and features, teacher logits and features, mixed targets."""
    size, classes = draw(st.integers(2, 4)), draw(st.sampled_from([2, 3, 7]))

    def table(values, columns):
        constant = tables(values, size, 1).map(lambda column: column.repeat(1, columns))
        return draw(st.one_of(tables(values, size, columns), tables(TINY, size, columns), constant))

    weight = draw(st.sampled_from([1.0, 0.75, 0.5]))
    labels = torch.arange(size) % classes
    one_hot = torch.eye(classes)
    targets = weight * one_hot[labels] + (1 - weight) * one_hot[(labels + 1) % classes]
    return [
        table(STUDENTS, classes),
        table(STUDENTS, 3),
        table(FLOAT16, classes),
        table(FLOAT16, 2),
        targets,
    ]


def value_and_gradients(name, batch, **changes):
    inputs = [t.clone().requires_grad_() if i < 2 else t for i, t in enumerate(batch)]
    value = value_of(name, [*inputs, 3.0], **{**OPTIONS[name], **changes})
    return value, torch.autograd.grad(value, inputs[:2], allow_unused=True)


@pytest.mark.parametrize("name", LOSSES)
@settings(deadline=None, max_examples=40, derandomize=True)
@given(batch=batches(), temperature=TEMPERATURES)
def test_value_and_gradient_are_finite(name, batch, temperature):
    changes = {"temperature": temperature} if name in WITH_TEMPERATURE else {}
    value, gradients = value_and_gradients(name, batch, **changes)
    assert value.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients if gradient is not None)


@settings(deadline=None, max_examples=100, derandomize=True)
@given(row=tables(st.floats(width=32, allow_nan=False, allow_infinity=False) | TINY, 2, 2))
def test_rescaled_is_finite_for_every_finite_row(row):
    batch = [row, row, row.flip(0), row, torch.eye(2)]
    value, (gradient, _) = value_and_gradients("rescaled", batch)
    assert value.isfinite()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("number", [0.0, 0.1, -65504.0, 3e38])
@pytest.mark.parametrize("classes", [2, 100])
def test_a_constant_row_is_uniform(number, classes):
    constant = torch.full((1, classes), number)
    for name in ("rescaled", "zscore"):
        probabilities = scaled_logits(name, constant).softmax(dim=1)
        assert torch.allclose(probabilities, torch.full((1, classes), 1 / classes))
    target = torch.eye(classes)[:1]
    value, (gradient, _) = value_and_gradients(
        "rescaled", [constant, constant, constant, constant, target], gamma=1.0
    )
    assert value.item() == pytest.approx(math.log(classes), rel=1e-5)
    assert torch.allclose(gradient, 1 / classes - target, atol=1e-6)  # of plain cross-entropy


def test_a_tie_of_float16_in_two_classes():
    """Two logits of a teacher that differ in float32 may be one number in the store."""
    teacher = torch.tensor([[11.0001, 11.0002], [3.0, -2.0]]).half().float()
    student = torch.tensor([[0.3, -0.2], [1.0, 2.0]])
    batch = [student, student, teacher, teacher, torch.eye(2)]
    value, (gradient, _) = value_and_gradients("rescaled", batch, gamma=0.0, alpha=1.0)
    scaled = [0.5 * math.sqrt(2) / 0.5, math.sqrt(2)]  # differences over deviations
    p = [1 / (1 + math.exp(-d)) for d in (scaled[0], -scaled[1])]
    q = [0.5, 1 / (1 + math.exp(-math.sqrt(2)))]
    expected = sum(
        b * math.log(b / a) + (1 - b) * math.log((1 - b) / (1 - a))
        for a, b in zip(p, q, strict=True)
    )
    assert value.item() == pytest.approx(expected / 2, rel=1e-5)
    assert gradient.isfinite().all()


# The formulas as they are written down, for ordinary rows.


def plain_unit_deviation(z):
    return z / z.std(dim=1, keepdim=True)


def plain_standardised(z):
    return (z - z.mean(dim=1, keepdim=True)) / (z.std(dim=1, keepdim=True) + 1e-7)


ORDINARY = st.floats(-1000, 1000, width=16)


@pytest.mark.parametrize(
    ("name", "plain"), [("rescaled", plain_unit_deviation), ("zscore", plain_standardised)]
)
@settings(deadline=None, max_examples=100, derandomize=True)
@given(rows=tables(ORDINARY, 3, 5), scale=st.sampled_from([1e-9, 1e-3, 1.0, 1e9]))
def test_ordinary_rows_keep_every_bit(name, plain, rows, scale):
    ordinary = rows.amax(dim=1) > rows.amin(dim=1)
    rows = torch.where(ordinary[:, None], rows, torch.arange(5.0)) * scale
    results = []
    for function in (plain, lambda z: scaled_logits(name, z)):
        logits = rows.clone().requires_grad_()
        made = function(logits)
        weights = torch.arange(made.numel()).view_as(made) % 7 - 3.0
        total = (made.softmax(dim=1) * weights).sum()
        if name == "zscore":  # its cross-entropy is of unscaled logits: one sum of four gradients
            total = total + logits.log_softmax(dim=1)[:, 0].sum()
        (gradient,) = torch.autograd.grad(total, logits)
        results.append((made, gradient))
    (made, gradient), (ours, our_gradient) = results
    assert torch.equal(made, ours)
    assert torch.equal(gradient, our_gradient)


def test_a_row_that_is_none_leaves_its_neighbours_every_bit():
    rows = torch.randn(6, 10, generator=torch.Generator().manual_seed(1))
    alone = scaled_logits("rescaled", rows)
    rows = torch.cat([rows[:3], torch.full((1, 10), 0.7), torch.full((1, 10), 3e38), rows[3:]])
    together = scaled_logits("rescaled", rows)
    assert torch.equal(torch.cat([together[:3], together[5:]]), alone)


@settings(deadline=None, max_examples=100, derandomize=True)
@given(logits=tables(ORDINARY, 3, 5), temperature=st.sampled_from([0.5, 4.0]))
def test_the_class_that_dkd_takes_out_has_no_probability(logits, temperature):
    """As with a mask of -10,000, which served wherever logits / T stay far above that."""
    batch = [logits, logits, logits.flip(0), logits, torch.eye(5)[:3]]
    results = []
    for mask in (decoupled.EXCLUDED, -1e4):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(decoupled, "EXCLUDED", mask)
            results.append(value_and_gradients("dkd", batch, temperature=temperature))
    (value, (gradient, _)), (before, (gradient_before, _)) = results
    assert torch.equal(value, before)
    assert torch.equal(gradient, gradient_before)


def test_dkd_at_a_low_temperature():
    """Logits / T far below -10,000: the other classes still are the others."""
    inputs = [torch.tensor([[0.0, -60.0, -61.0]]), torch.tensor([[1.0, -70.0, -69.0]])]
    options = {**OPTIONS["dkd"], "temperature": 1e-3, "gamma": 0.0, "alpha": 0.0, "beta": 1.0}
    target = torch.tensor([[1.0, 0.0, 0.0]])
    value = value_of("dkd", [inputs[0], None, inputs[1], None, target, 100.0], **options)
    # Among the others the teacher is sure of the third class, the student of the second.
    assert value.item() == pytest.approx(1e-6 * 1000.0, rel=1e-4)


def test_equal_features_have_no_direction():
    features = torch.tensor([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0 + 1e-7]])
    tiny = torch.tensor([[0.0, 1e-30], [1e-21, 0.0], [0.0, 0.0]])
    for student in (features, tiny):
        batch = [torch.eye(3), student, torch.eye(3), features, torch.eye(3)]
        value, (_, gradient) = value_and_gradients("rkd", batch)
        assert value.isfinite()
        assert gradient.isfinite().all()
