"""What a student minimises: pure functions of its outputs, the teacher's, and the targets.

Every loss is called as ``loss(student_logits [B,C], student_features [B,D], teacher_logits [B,C],
teacher_features [B,E] or None, targets [B,C], epoch, **hyper-parameters)`` and returns a scalar:
nats, mean over the batch. Inputs are float32 (or wider). Targets are one-hot, or mixed: each row
sums to 1. `epoch` is the training's progress: 2.5 is the middle of the third epoch. No
hyper-parameter has a default: its number lives in params.yaml.

Value and gradient are finite for all logits and features that a store can hold (float16), equal ones
and all temperatures that `check_options` accepts included; a student's may be as large as 1e15.

Throughout, CE(z, y) = -sum_c y_c log softmax(z)_c, and KL(t || s) = sum_c p_c (log p_c - log q_c)
with p = softmax(t), q = softmax(s); `gamma` is the weight of CE, T a temperature.

A new loss is one function and one line of `LOSSES`; a user's own can also be named by its dotted
path.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax, mse_loss

from pipeline.decoupled import dkd
from pipeline.own import code_sha256, import_own
from pipeline.relations import dist, rkd

Loss = Callable[..., Tensor]

# The square of a deviation below this one is no normal float32.
NO_DEVIATION = 1.1e-19
# Sums of squares of larger numbers may overflow in float32.
HUGE = 2.0**48
# Beyond, float32 leaves nothing of T^2 * KL, or of the logits.
TEMPERATURES = (1e-3, 1e3)


def kl_divergence(teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
    """KL(teacher || student): sum over classes, mean over the batch; nats."""
    teacher, student = log_softmax(teacher_logits, dim=1), log_softmax(student_logits, dim=1)
    return kl_div(student, teacher, reduction="batchmean", log_target=True)


def kd(
    student_logits: Tensor,
    student_features: Tensor,
    teacher_logits: Tensor,
    teacher_features: Tensor | None,
    targets: Tensor,
    epoch: float | Tensor,
    *,
    temperature: float,
    gamma: float,
    alpha: float,
) -> Tensor:
    """gamma * CE(s, y) + alpha * T^2 * KL(t/T || s/T).

    Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015.
    """
    soft = temperature**2 * kl_divergence(
        teacher_logits / temperature, student_logits / temperature
    )
    return gamma * cross_entropy(student_logits, targets) + alpha * soft


def kd_soft_only(
    student_logits: Tensor,
    student_features: Tensor,
    teacher_logits: Tensor,
    teacher_features: Tensor | None,
    targets: Tensor,
    epoch: float | Tensor,
    *,
    temperature: float,
) -> Tensor:
    """T^2 * KL(t/T || s/T): `kd` without the labels."""
    return temperature**2 * kl_divergence(
        teacher_logits / temperature, student_logits / temperature
    )


def rescaled(
    student_logits: Tensor,
    student_features: Tensor,
    teacher_logits: Tensor,
    teacher_features: Tensor | None,
    targets: Tensor,
    epoch: float | Tensor,
    *,
    gamma: float,
    alpha: float,
) -> Tensor:
    """gamma * CE(s', y) + alpha * KL(t' || s'), where z' = z / std(z).

    std is the unbiased standard deviation over the classes of one image, without an epsilon; the
    gradient flows through the student's. A row without deviation (its logits are equal, or float32
    cannot hold the square of what they differ by) is not divided: it counts as uniform, and its
    gradient is that of the logits as they are. So value and gradient are finite for every finite row.

    Choi et al., "Understanding the Role of Mixup in Knowledge Distillation", WACV 2023.
    """
    student, teacher = unit_deviation(student_logits), unit_deviation(teacher_logits)
    return gamma * cross_entropy(student, targets) + alpha * kl_divergence(teacher, student)


def zscore(
    student_logits: Tensor,
    student_features: Tensor,
    teacher_logits: Tensor,
    teacher_features: Tensor | None,
    targets: Tensor,
    epoch: float | Tensor,
    *,
    temperature: float,
    gamma: float,
    alpha: float,
) -> Tensor:
    """gamma * CE(s, y) + alpha * T^2 * KL(Z(t)/T || Z(s)/T), with standardised logits Z.

    Z(z) = (z - mean(z)) / (std(z) + 1e-7). Mean and standard deviation are over the classes of one
    image; T is the authors' base temperature. std is unbiased, as in their code (the paper writes
    the population's, which is smaller by 0.5 % at 100 classes).

    Sun et al., "Logit Standardization in Knowledge Distillation", CVPR 2024, algorithms 1 and 2.
    """
    student, teacher = standardised(student_logits), standardised(teacher_logits)
    soft = temperature**2 * kl_divergence(teacher / temperature, student / temperature)
    return gamma * cross_entropy(student_logits, targets) + alpha * soft


def mse(
    student_logits: Tensor,
    student_features: Tensor,
    teacher_logits: Tensor,
    teacher_features: Tensor | None,
    targets: Tensor,
    epoch: float | Tensor,
    *,
    gamma: float,
    alpha: float,
) -> Tensor:
    """gamma * CE(s, y) + alpha * mean over classes and batch of (s - t)^2.

    The mean over classes is the authors' reduction, and twice the limit of T^2 * KL(t/T || s/T)
    for a large T where both rows of logits have mean zero.

    Kim et al., "Comparing Kullback-Leibler Divergence and Mean Squared Error Loss in Knowledge
    Distillation", IJCAI 2021.
    """
    matching = mse_loss(student_logits, teacher_logits)
    return gamma * cross_entropy(student_logits, targets) + alpha * matching


def unit_deviation(logits: Tensor) -> Tensor:
    """Divide each row of [B,C] by its unbiased standard deviation, if it has one.

    A row whose deviation is below 1e-19 stays as it is: equal logits, or nearly so, are uniform.
    """
    scaled = within_range(logits)
    deviation = scaled.std(dim=1, keepdim=True)
    # Equal logits may have a deviation, of rounding. Where it is 0, so is its gradient in torch.
    least, most = logits.detach().aminmax(dim=1, keepdim=True)
    flat = (deviation < NO_DEVIATION) | (least == most)
    return torch.where(flat, logits, scaled / deviation.masked_fill(flat, 1.0))


def standardised(logits: Tensor) -> Tensor:
    """Shift and scale each row of [B,C] to mean 0 and unbiased standard deviation 1; equal logits to 0."""
    logits = within_range(logits)
    centred = logits - logits.mean(dim=1, keepdim=True)
    return centred / (logits.std(dim=1, keepdim=True) + 1e-7)


def within_range(logits: Tensor) -> Tensor:
    """Rows of [B,C] whose squares would overflow, divided by their largest; all others as they are.

    Only for what does not depend on a row's scale: the divisor passes no gradient.
    """
    largest = logits.detach().abs().amax(dim=1, keepdim=True)
    return logits / largest.masked_fill(largest < HUGE, 1.0)


LOSSES: dict[str, Loss] = {
    "kd": kd,
    "kd_soft_only": kd_soft_only,
    "rescaled": rescaled,
    "zscore": zscore,
    "dkd": dkd,
    "dist": dist,
    "mse": mse,
    "rkd": rkd,
}

# Losses that fix the scale of the logits themselves; all others train the logits as they are.
SCALES: dict[str, Callable[[Tensor], Tensor]] = {
    "rescaled": unit_deviation,
    "zscore": standardised,
}


def scaled_logits(name: str, logits: Tensor) -> Tensor:
    """Logits [B,C] on the scale on which a method's probabilities mean something.

    `rescaled` and `zscore` compare logits after scaling them, so softmax(logits) says nothing
    about how sure such a student is; NLL, ECE and KL are to be taken of these instead. The
    identity for all others. No temperature is applied.
    """
    return SCALES[name](logits) if name in SCALES else logits


def needs_features(name: str) -> bool:
    """Whether a loss needs the teacher's features.

    `rkd` does, and a user's function whose attribute `needs_features` is true. False for a name
    that `resolve` would refuse.
    """
    try:
        loss = resolve(name)
    except ValueError:
        return False
    return loss is rkd or bool(getattr(loss, "needs_features", False))


def resolve(name: str) -> Loss:
    """The loss of a name in `LOSSES`, or of a dotted path.

    Paths are `own.module:function` or `own.module.function`, of the folder `own/` or an installed package
    (`pipeline.own`). Raises ValueError for an unknown name (listing the valid ones) and a path that leads
    to no function.
    """
    if str(name) in LOSSES:
        return LOSSES[name]
    module_name, function_name = _split(name)
    try:
        function = getattr(import_own(module_name), function_name)
    except ImportError as error:
        raise ValueError(f"loss {name!r}: cannot import {module_name} ({error})") from error
    except AttributeError:
        raise ValueError(f"loss {name!r}: {module_name} holds no {function_name}") from None
    if not callable(function):
        raise ValueError(f"loss {name!r}: {function_name} is not a function")
    return function  # type: ignore[no-any-return]


def own_code_sha256(name: str) -> str | None:
    """Digest (hex) of the code that a dotted path names; None for the losses of `LOSSES`.

    Raises ValueError as `resolve` does.
    """
    resolve(name)
    return None if str(name) in LOSSES else code_sha256(import_own(_split(name)[0]))


def _split(name: str) -> tuple[str, str]:
    module_name, _, function_name = str(name).replace(":", ".").rpartition(".")
    if not module_name or module_name.startswith("."):
        valid = ", ".join(LOSSES)
        raise ValueError(f"no loss {name!r}; valid: {valid}, or own.module:function")
    return module_name, function_name


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Check a method's hyper-parameters against the signature of its loss.

    Raises ValueError listing all that are unknown, missing, not numbers or out of range
    (temperatures are from 0.001 to 1000, all others of the built-in losses at least 0), or where the
    loss itself is unknown.
    """
    accepted = {
        key: parameter
        for key, parameter in inspect.signature(resolve(name)).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    required = {key for key, parameter in accepted.items() if parameter.default is parameter.empty}
    problems = [
        f"unknown hyper-parameter {key!r} (valid: {', '.join(accepted) or 'none'})"
        for key in options
        if key not in accepted
    ]
    problems += [
        f"missing hyper-parameter {key!r}" for key in accepted if key in required - set(options)
    ]
    for key, value in options.items():
        if key in accepted and accepted[key].annotation is float:
            problems += _number_problems(key, value, built_in=name in LOSSES)
    if problems:
        raise ValueError(f"loss {name!r}: {'; '.join(problems)}")


def _number_problems(key: str, value: object, *, built_in: bool) -> list[str]:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return [f"{key} must be a number, found {value!r}"]
    least, most = TEMPERATURES
    if built_in and key == "temperature" and not least <= value <= most:
        return [f"{key} must be from {least:g} to {most:g}, found {value!r}"]
    if built_in and value < 0:
        return [f"{key} must be at least 0, found {value!r}"]
    return []
