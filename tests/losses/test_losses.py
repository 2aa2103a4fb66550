"""Each loss against a slow loop written from its paper's equations, and at its limits."""

import hashlib
import inspect
import math
import sys

import pytest
import torch
from loss_samples import OPTIONS

from pipeline.core.names import UnknownNameError
from pipeline.losses.registry import bind, own_code_sha256, resolve, scaled_logits
from pipeline.losses.signatures import (
    INPUTS,
    LOSSES,
    check_options,
    inputs_of,
    needs_features,
    signature,
)

# Adding a constant to all of an image's logits changes nothing (rescaled: std divides, no shift is
# taken out of the logits themselves, but softmax ignores it).
SHIFT_INVARIANT = ("kd", "kd_soft_only", "rescaled", "zscore", "dkd", "dist", "rkd")
# The mean over images of a loss per image.
PER_IMAGE = ("kd", "kd_soft_only", "rescaled", "zscore", "dkd", "mse")

BATCH, CLASSES = 5, 7


def make_inputs(seed: int = 0, *, mixed: bool = True, dtype: torch.dtype = torch.float64) -> list:
    """Student logits and features, teacher logits and features (of another width), targets."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=dtype)

    classes = torch.randint(0, CLASSES, (2, BATCH), generator=generator)
    weight = torch.rand(BATCH, 1, generator=generator, dtype=dtype) if mixed else 1.0
    one_hot = torch.eye(CLASSES, dtype=dtype)[classes]
    targets = weight * one_hot[0] + (1 - weight) * one_hot[1]
    student, teacher = normal(BATCH, CLASSES), 3 * normal(BATCH, CLASSES) + 1
    return [student, normal(BATCH, 4), teacher, normal(BATCH, 6), targets]


def compute(name: str, inputs: list, epoch: float = 100.0, **changes: float) -> torch.Tensor:
    return given(name, inputs, epoch, **{**OPTIONS[name], **changes})


def given(name: str, inputs: list, epoch: float, **options: float) -> torch.Tensor:
    return bind(name)(dict(zip(INPUTS, [*inputs, epoch], strict=True)), **options)


# Slow loops, in plain Python numbers.


def softmax(row: list[float]) -> list[float]:
    powers = [math.exp(value) for value in row]
    return [power / sum(powers) for power in powers]


def cross_entropy(row: list[float], target: list[float]) -> float:
    return -sum(y * math.log(p) for y, p in zip(target, softmax(row), strict=True))


def divergence(p: list[float], q: list[float]) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def divide(row: list[float], number: float) -> list[float]:
    return [value / number for value in row]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def deviation(row: list[float]) -> float:
    return math.sqrt(sum((value - mean(row)) ** 2 for value in row) / (len(row) - 1))


def correlation(a: list[float], b: list[float]) -> float:
    da, db = [x - mean(a) for x in a], [x - mean(b) for x in b]
    top = sum(x * y for x, y in zip(da, db, strict=True))
    return top / math.sqrt(sum(x * x for x in da) * sum(y * y for y in db))


def huber(a: float, b: float) -> float:
    return 0.5 * (a - b) ** 2 if abs(a - b) < 1 else abs(a - b) - 0.5


def slow_kd(s, fs, t, ft, y, epoch, *, temperature, gamma, alpha):
    total = 0.0
    for student, teacher, target in zip(s, t, y, strict=True):
        soft = divergence(
            softmax(divide(teacher, temperature)), softmax(divide(student, temperature))
        )
        total += gamma * cross_entropy(student, target) + alpha * temperature**2 * soft
    return total / len(s)


def slow_kd_soft_only(s, fs, t, ft, y, epoch, *, temperature):
    return slow_kd(s, fs, t, ft, y, epoch, temperature=temperature, gamma=0.0, alpha=1.0)


def slow_rescaled(s, fs, t, ft, y, epoch, *, gamma, alpha):
    total = 0.0
    for student, teacher, target in zip(s, t, y, strict=True):
        student, teacher = divide(student, deviation(student)), divide(teacher, deviation(teacher))
        soft = divergence(softmax(teacher), softmax(student))
        total += gamma * cross_entropy(student, target) + alpha * soft
    return total / len(s)


def slow_zscore(s, fs, t, ft, y, epoch, *, temperature, gamma, alpha):
    def standard(row):
        return [(v - mean(row)) / (deviation(row) + 1e-7) / temperature for v in row]

    total = 0.0
    for student, teacher, target in zip(s, t, y, strict=True):
        soft = divergence(softmax(standard(teacher)), softmax(standard(student)))
        total += gamma * cross_entropy(student, target) + alpha * temperature**2 * soft
    return total / len(s)


def slow_mse(s, fs, t, ft, y, epoch, *, gamma, alpha):
    total = 0.0
    for student, teacher, target in zip(s, t, y, strict=True):
        squares = [(a - b) ** 2 for a, b in zip(student, teacher, strict=True)]
        total += gamma * cross_entropy(student, target) + alpha * mean(squares)
    return total / len(s)


def slow_dkd(s, fs, t, ft, y, epoch, *, temperature, gamma, alpha, beta, warmup_epochs):
    weight = min((math.floor(epoch) + 1) / warmup_epochs, 1.0)
    total = 0.0
    for student, teacher, target in zip(s, t, y, strict=True):
        p, q = softmax(divide(teacher, temperature)), softmax(divide(student, temperature))
        decoupled = 0.0
        for c, part in enumerate(target):
            tckd = divergence([p[c], 1 - p[c]], [q[c], 1 - q[c]])
            rest_p = [p[i] / (1 - p[c]) for i in range(len(p)) if i != c]
            rest_q = [q[i] / (1 - q[c]) for i in range(len(q)) if i != c]
            decoupled += part * (alpha * tckd + beta * divergence(rest_p, rest_q))
        total += gamma * cross_entropy(student, target) + weight * temperature**2 * decoupled
    return total / len(s)


def slow_dist(s, fs, t, ft, y, epoch, *, temperature, gamma, inter, intra):
    student = [softmax(divide(row, temperature)) for row in s]
    teacher = [softmax(divide(row, temperature)) for row in t]
    rows = mean([1 - correlation(a, b) for a, b in zip(student, teacher, strict=True)])
    columns = [
        1 - correlation([row[c] for row in student], [row[c] for row in teacher])
        for c in range(len(s[0]))
    ]
    hard = mean([cross_entropy(row, target) for row, target in zip(s, y, strict=True)])
    return gamma * hard + temperature**2 * (inter * rows + intra * mean(columns))


def slow_rkd(s, fs, t, ft, y, epoch, *, gamma, distance, angle):
    count = len(fs)

    def gap(features, i, j):
        return [b - a for a, b in zip(features[i], features[j], strict=True)]

    def norm(vector):
        return math.sqrt(sum(value * value for value in vector))

    def relative(features):
        table = [[norm(gap(features, i, j)) for j in range(count)] for i in range(count)]
        positive = [value for row in table for value in row if value > 0]
        return [[value / mean(positive) for value in row] for row in table]

    def cosine(features, i, j, k):
        a, b = gap(features, i, j), gap(features, i, k)
        if i in (j, k):
            return 0.0
        return sum(x * z for x, z in zip(a, b, strict=True)) / (norm(a) * norm(b))

    ds, dt = relative(fs), relative(ft)
    indices = range(count)
    distances = mean([huber(ds[i][j], dt[i][j]) for i in indices for j in indices])
    angles = mean(
        [
            huber(cosine(fs, i, j, k), cosine(ft, i, j, k))
            for i in indices
            for j in indices
            for k in indices
        ]
    )
    hard = mean([cross_entropy(row, target) for row, target in zip(s, y, strict=True)])
    return gamma * hard + distance * distances + angle * angles


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_equals_the_slow_loop(name, mixed):
    slow = globals()[f"slow_{name}"]
    for seed in range(3):
        inputs = make_inputs(seed, mixed=mixed)
        expected = slow(*(tensor.tolist() for tensor in inputs), 3.7, **OPTIONS[name])
        actual = given(name, inputs, 3.7, **OPTIONS[name])
        assert actual.shape == ()
        assert actual.item() == pytest.approx(expected, rel=1e-6 if name == "dist" else 1e-9)


@pytest.mark.parametrize("name", LOSSES)
def test_float32_agrees_with_float64(name):
    wide = make_inputs(mixed=True)
    narrow = [tensor.float() for tensor in wide]
    actual = compute(name, narrow)
    assert actual.dtype == torch.float32
    assert actual.item() == pytest.approx(compute(name, wide).item(), rel=1e-4)


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_passes_gradcheck(name):
    student, student_features, *rest = make_inputs(mixed=True)
    student.requires_grad_()
    student_features.requires_grad_()

    def loss(logits, features):
        return compute(name, [logits, features, *rest], epoch=3.0) + 0 * features.sum()

    assert torch.autograd.gradcheck(loss, (student, student_features))


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_is_finite_at_extremes(name):
    """Certain, far apart and equal logits, and two images with the same features."""
    student, student_features, teacher, teacher_features, targets = make_inputs(
        mixed=False, dtype=torch.float32
    )
    student[0] = 100 * targets[0]
    student[1] = -100 * targets[1]
    teacher[0] = 100 * targets[0]
    student_features[2] = student_features[3]
    student.requires_grad_()
    student_features.requires_grad_()
    inputs = [student, student_features, teacher, teacher_features, targets]
    loss = compute(name, inputs) + 0 * student_features.sum()
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()
    assert torch.isfinite(student_features.grad).all()
    assert student_features.grad.abs().max() < 1e4


@pytest.mark.parametrize("name", LOSSES)
def test_equal_outputs_leave_the_labels_alone(name):
    student, features, _, _, targets = make_inputs(mixed=True)
    actual = compute(name, [student, features, student.clone(), features.clone(), targets])
    scale = {"rescaled": deviation}.get(name, lambda row: 1.0)
    hard = [
        cross_entropy(divide(row, scale(row)), target)
        for row, target in zip(student.tolist(), targets.tolist(), strict=True)
    ]
    weight = OPTIONS[name].get("gamma", 0.0)
    # dist: the 1e-8 beside the norms of its correlations, times 80 here.
    assert actual.item() == pytest.approx(weight * mean(hard), abs=1e-3 if name == "dist" else 1e-9)


@pytest.mark.parametrize("name", SHIFT_INVARIANT)
def test_a_constant_added_to_all_logits_changes_nothing(name):
    student, *rest = make_inputs(mixed=True)
    rest[1] = rest[1] + 5
    shift = torch.linspace(-3, 3, BATCH, dtype=student.dtype)[:, None]
    expected = compute(name, [student, *rest])
    actual = compute(name, [student + shift, *rest])
    assert actual.item() == pytest.approx(expected.item(), rel=1e-9)


def test_mse_does_see_a_constant():
    student, *rest = make_inputs(mixed=True)
    before, after = compute("mse", [student, *rest]), compute("mse", [student + 1, *rest])
    assert abs(before - after) > 1e-3


@pytest.mark.parametrize("name", ["rescaled", "zscore"])
def test_scale_of_the_teachers_logits_does_not_matter(name):
    student, features, teacher, *rest = make_inputs(mixed=True)
    expected = compute(name, [student, features, teacher, *rest])
    actual = compute(name, [student, features, 7 * teacher, *rest])
    assert actual.item() == pytest.approx(expected.item(), rel=1e-6)


def test_rescaled_ignores_the_scale_of_the_students_logits_too():
    student, *rest = make_inputs(mixed=True)
    expected = compute("rescaled", [student, *rest])
    assert compute("rescaled", [7 * student, *rest]).item() == pytest.approx(expected.item())


def test_rkd_ignores_the_scale_and_place_of_features():
    student, features, teacher, teacher_features, targets = make_inputs(mixed=True)
    expected = compute("rkd", [student, features, teacher, teacher_features, targets])
    actual = compute("rkd", [student, 7 * features + 2, teacher, teacher_features - 1, targets])
    assert actual.item() == pytest.approx(expected.item())


@pytest.mark.parametrize("name", PER_IMAGE)
def test_duplicated_batch_leaves_the_mean_unchanged(name):
    inputs = make_inputs(mixed=True)
    twice = [torch.cat([tensor, tensor]) for tensor in inputs]
    assert compute(name, twice).item() == pytest.approx(compute(name, inputs).item())


@pytest.mark.parametrize("name", PER_IMAGE)
def test_loss_of_a_batch_is_the_mean_over_its_images(name):
    inputs = make_inputs(mixed=True)
    rows = [compute(name, [tensor[i : i + 1] for tensor in inputs]).item() for i in range(BATCH)]
    assert compute(name, inputs).item() == pytest.approx(mean(rows))


def test_duplicated_batch_leaves_the_correlations_unchanged():
    inputs = make_inputs(mixed=True)
    twice = [torch.cat([tensor, tensor]) for tensor in inputs]
    assert compute("dist", twice).item() == pytest.approx(compute("dist", inputs).item(), rel=1e-5)


@pytest.mark.parametrize("mixed", [False, True])
def test_kd_without_teacher_is_cross_entropy(mixed):
    inputs = make_inputs(mixed=mixed)
    actual = compute("kd", inputs, gamma=1.0, alpha=0.0)
    expected = torch.nn.functional.cross_entropy(inputs[0], inputs[-1])
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)


def test_hard_labels_are_class_indices_in_one_hot_form():
    inputs = make_inputs(mixed=False)
    classes = inputs[-1].argmax(dim=1)
    actual = compute("kd", inputs, gamma=1.0, alpha=0.0)
    torch.testing.assert_close(actual, torch.nn.functional.cross_entropy(inputs[0], classes))


def test_rescaled_without_teacher_is_cross_entropy_of_rescaled_logits():
    inputs = make_inputs(mixed=False)
    actual = compute("rescaled", inputs, gamma=1.0, alpha=0.0)
    scaled = inputs[0] / inputs[0].std(dim=1, keepdim=True)
    expected = torch.nn.functional.cross_entropy(scaled, inputs[-1].argmax(dim=1))
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize(
    ("name", "teacher_weights"),
    [
        ("zscore", {"alpha": 0.0}),
        ("mse", {"alpha": 0.0}),
        ("dkd", {"alpha": 0.0, "beta": 0.0}),
        ("dist", {"inter": 0.0, "intra": 0.0}),
        ("rkd", {"distance": 0.0, "angle": 0.0}),
    ],
)
def test_without_teacher_weight_the_labels_remain(name, teacher_weights):
    inputs = make_inputs(mixed=False)
    actual = compute(name, inputs, gamma=1.0, **teacher_weights)
    expected = torch.nn.functional.cross_entropy(inputs[0], inputs[-1].argmax(dim=1))
    torch.testing.assert_close(actual, expected)


def test_rescaled_gradient_flows_through_the_deviation():
    student, *rest = make_inputs(mixed=False)
    student.requires_grad_()
    compute("rescaled", [student, *rest]).backward()
    # A loss that ignores scale is flat along the logits themselves; a frozen std would not be.
    along = (student.grad * student).sum(dim=1)
    torch.testing.assert_close(along, torch.zeros(BATCH, dtype=along.dtype), rtol=0, atol=1e-12)
    assert student.grad.abs().max() > 1e-3


def test_dkd_recovers_kd_with_the_teachers_own_weight():
    """Equation 7: KL = TCKD + (1 - p_target) NCKD, for one-hot targets, image by image."""
    inputs = [tensor[:1] for tensor in make_inputs(mixed=False)]
    target = inputs[-1].argmax().item()
    share = 1 - torch.softmax(inputs[2] / 4, dim=1)[0, target].item()
    actual = compute("dkd", inputs, gamma=0.0, alpha=1.0, beta=share)
    expected = compute("kd_soft_only", inputs)
    torch.testing.assert_close(actual, expected)


def test_dkd_of_mixed_targets_is_the_mixture_over_both_classes():
    inputs = make_inputs(mixed=True)
    weights, classes = inputs[-1].topk(2, dim=1)
    one_hot = torch.eye(CLASSES, dtype=torch.float64)
    for row in range(BATCH):
        student, features, teacher, teacher_features, targets = (t[row : row + 1] for t in inputs)
        parts = [
            compute("dkd", [student, features, teacher, teacher_features, one_hot[c : c + 1]])
            for c in classes[row]
        ]
        actual = compute("dkd", [student, features, teacher, teacher_features, targets])
        torch.testing.assert_close(actual, weights[row, 0] * parts[0] + weights[row, 1] * parts[1])


def test_dkd_is_continuous_where_the_partner_fades():
    inputs = make_inputs(mixed=False)
    expected = compute("dkd", inputs)
    inputs[-1] = (1 - 1e-9) * inputs[-1] + 1e-9 * inputs[-1].roll(1, dims=1)
    torch.testing.assert_close(compute("dkd", inputs), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("epoch", "weight"), [(0.0, 0.05), (0.99, 0.05), (1.0, 0.1), (18.5, 0.95), (19.0, 1), (99, 1)]
)
def test_dkd_warms_up_by_whole_epochs(epoch, weight):
    inputs = make_inputs(mixed=False)
    full = compute("dkd", inputs, gamma=0.0)
    torch.testing.assert_close(compute("dkd", inputs, epoch=epoch, gamma=0.0), weight * full)
    on_device = torch.tensor(float(epoch))
    torch.testing.assert_close(
        compute("dkd", inputs, epoch=on_device, gamma=0.0), weight * full, check_dtype=False
    )


def test_dkd_without_warmup():
    inputs = make_inputs(mixed=False)
    actual = compute("dkd", inputs, epoch=0.0, warmup_epochs=0.0)
    torch.testing.assert_close(actual, compute("dkd", inputs))


def test_mse_is_twice_the_limit_of_kd_at_high_temperature():
    student, features, teacher, *rest = make_inputs(mixed=False)
    student, teacher = (z - z.mean(dim=1, keepdim=True) for z in (student, teacher))
    soft = compute("kd_soft_only", [student, features, teacher, *rest], temperature=1e4)
    matching = compute("mse", [student, features, teacher, *rest], gamma=0.0, alpha=1.0)
    assert matching.item() == pytest.approx(2 * soft.item(), rel=1e-3)


def test_rkd_without_features_says_what_to_do():
    inputs = make_inputs(mixed=False)
    inputs[3] = None
    with pytest.raises(ValueError, match="features: true"):
        compute("rkd", inputs)


def test_options_of_the_tests_cover_every_loss():
    assert OPTIONS.keys() == LOSSES.keys()
    for name, options in OPTIONS.items():
        check_options(name, options)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_say_what_they_need_by_name_and_have_no_defaults(name):
    parameters = list(inspect.signature(resolve(name)).parameters.values())
    told = [(p.name, p.kind, p.default, p.annotation is float) for p in signature(name)]
    assert told == [(p.name, p.kind, p.default, p.annotation is float) for p in parameters]
    needed = inputs_of(name)
    assert list(needed) == sorted(needed, key=INPUTS.index)
    assert {"student_logits", "teacher_logits", "student_features", "teacher_features"} & set(
        needed
    )
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters[len(needed) :])
    assert all(p.default is p.empty for p in parameters)


def test_registered_losses_are_functions_of_their_names():
    assert [resolve(name).__name__ for name in LOSSES] == list(LOSSES)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("kd", {"gamma": 0.1, "alpha": 0.9}, "missing hyper-parameter 'temperature'"),
        (
            "kd_soft_only",
            {"temperature": 4, "alpha": 1},
            r"unknown hyper-parameter 'alpha' \(valid: temperature\)",
        ),
        ("rescaled", {"gama": 1, "alpha": 1}, "unknown .*'gama'.*; missing .*'gamma'"),
        ("kd_soft_only", {"temperature": "4"}, "temperature must be a number, found '4'"),
        ("kd_soft_only", {"temperature": True}, "temperature must be a number, found True"),
        ("kd_soft_only", {"temperature": math.nan}, "temperature must be a number, found nan"),
        ("kd_soft_only", {"temperature": 0}, "temperature must be from 0.001 to 1000, found 0"),
        ("mse", {"gamma": 0.5, "alpha": -1.0}, r"alpha must be at least 0, found -1\.0"),
        ("hinton", {}, "no loss 'hinton'; valid: kd, kd_soft_only, rescaled, zscore, dkd"),
        (3, {}, "no loss '?3"),
    ],
)
def test_wrong_options_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        check_options(name, options)


CUSTOM = """
def plain(student_logits, teacher_logits, *, weight: float, power: float = 2.0):
    return weight * (student_logits - teacher_logits).abs().pow(power).mean()

def on_features(student_features, teacher_features):
    return student_features.mean() - teacher_features.mean()

def of_anything(*arguments):
    return arguments[1].mean()

def misspelt(student_logit, teacher_logits, *, weight: float):
    return weight * student_logit.mean()

number = 3
"""


@pytest.fixture
def custom(tmp_path, monkeypatch):
    (tmp_path / "my_losses.py").write_text(CUSTOM)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("my_losses", None)


@pytest.mark.usefixtures("custom")
def test_dotted_paths_name_a_users_own_loss():
    actual = resolve("my_losses:plain")
    assert actual is resolve("my_losses.plain")
    inputs = make_inputs(mixed=False)
    expected = 0.5 * (inputs[0] - inputs[2]).square().mean()
    torch.testing.assert_close(given("my_losses:plain", inputs, 0.0, weight=0.5), expected)
    check_options("my_losses:plain", {"weight": -1.0})
    with pytest.raises(ValueError, match="missing hyper-parameter 'weight'"):
        check_options("my_losses:plain", {"power": 1.0})
    assert resolve("pipeline.losses.hinton:kd") is resolve("kd")


def test_annotations_may_be_text(custom, tmp_path):
    (tmp_path / "my_losses.py").write_text(f"from __future__ import annotations\n{CUSTOM}")
    check_options("my_losses:plain", {"weight": 0.5})
    with pytest.raises(ValueError, match="weight must be a number, found 'hot'"):
        check_options("my_losses:plain", {"weight": "hot"})


@pytest.mark.usefixtures("custom")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my_losses:absent", "my_losses holds no absent"),
        ("my_losses:number", "number is not a function"),
        ("absent_module:loss", "cannot import absent_module"),
        ("..loss", "no loss"),
    ],
)
def test_dotted_paths_that_lead_nowhere(name, message):
    with pytest.raises(ValueError, match=message):
        resolve(name)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("from torch.nn import functional\nloss = functional.kl_dvi", "AttributeError: .*kl_dvi"),
        ("import nothing_of_this_name", "ModuleNotFoundError: .*nothing_of_this_name"),
        ("def loss(:", "SyntaxError: .*my_broken.py, line 1"),
        ("raise ValueError('no')", "ValueError: no"),
    ],
)
def test_a_module_that_cannot_be_imported(tmp_path, monkeypatch, code, reason):
    (tmp_path / "my_broken.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UnknownNameError, match=rf"cannot import my_broken \({reason}"):
        resolve("my_broken:loss")


@pytest.mark.usefixtures("custom")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "my_losses:misspelt",
            "it asks for student_logit; a loss can have student_logits, student_fea",
        ),
        ("my_losses:of_anything", r"it asks for \*arguments; a loss can have"),
    ],
)
def test_losses_that_ask_for_what_there_is_not(name, message):
    with pytest.raises(ValueError, match=message):
        check_options(name, {"weight": 1.0})


def test_the_code_of_a_users_own_loss(custom, tmp_path):
    digest = hashlib.sha256((tmp_path / "my_losses.py").read_bytes()).hexdigest()
    assert own_code_sha256("my_losses:plain") == own_code_sha256("my_losses.plain") == digest
    assert [own_code_sha256(name) for name in LOSSES] == [None] * len(LOSSES)
    with pytest.raises(ValueError, match="my_losses holds no absent"):
        own_code_sha256("my_losses:absent")


@pytest.mark.usefixtures("custom")
def test_which_losses_need_features():
    assert [name for name in LOSSES if needs_features(name)] == ["rkd"]
    assert needs_features("my_losses:on_features")
    assert not needs_features("my_losses:plain")
    assert inputs_of("my_losses:on_features") == ("student_features", "teacher_features")
    assert not needs_features("absent")


def test_scaled_logits():
    logits = make_inputs()[2]
    for name in LOSSES:
        actual = scaled_logits(name, logits)
        if name == "rescaled":
            expected = torch.tensor([divide(row, deviation(row)) for row in logits.tolist()])
            torch.testing.assert_close(actual, expected.double(), rtol=1e-6, atol=1e-6)
        elif name == "zscore":
            torch.testing.assert_close(actual.mean(dim=1), torch.zeros(BATCH).double())
            torch.testing.assert_close(actual.std(dim=1), torch.ones(BATCH).double())
        else:
            assert actual is logits
        assert (actual.argmax(dim=1) == logits.argmax(dim=1)).all()
