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

from torch import Tensor

from pipeline.core.own import code_sha256, import_own
from pipeline.losses.decoupled import dkd
from pipeline.losses.hinton import kd, kd_soft_only, mse
from pipeline.losses.relations import dist, rkd
from pipeline.losses.standardised import rescaled, standardised, unit_deviation, zscore

Loss = Callable[..., Tensor]

# The square of a deviation below this one is no normal float32.
NO_DEVIATION = 1.1e-19
# Sums of squares of larger numbers may overflow in float32.
HUGE = 2.0**48
# Beyond, float32 leaves nothing of T^2 * KL, or of the logits.
TEMPERATURES = (1e-3, 1e3)


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
    (`pipeline.core.own`). Raises ValueError for an unknown name (listing the valid ones) and a path that leads
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
