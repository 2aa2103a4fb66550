"""The losses of students, by name: pure functions of student outputs, teacher outputs and targets.

The parameters of a loss say what it needs: any of `INPUTS`, then keyword-only hyper-parameters. It returns
a scalar, the mean over the batch, in nats::

    def l1(student_logits: Tensor, teacher_logits: Tensor, *, weight: float) -> Tensor: ...

student_logits and teacher_logits are [B,C]; student_features [B,D] and teacher_features [B,E] (a loss with
this parameter needs a store with features); targets [B,C], one-hot or mixed (each row sums to 1). All are
float32 or wider. `epoch` is the progress of training, a scalar: 2.5 is the middle of the third epoch. The
hyper-parameters of our losses have no defaults: their values are in params.yaml.

Value and gradient are finite for all logits and features that a store can hold (float16), including equal
ones, and for all temperatures that `check_options` accepts; a student's logits may be as large as 1e15.

Throughout, CE(z, y) = -sum_c y_c log softmax(z)_c, and KL(t || s) = sum_c p_c (log p_c - log q_c)
with p = softmax(t), q = softmax(s); `gamma` is the weight of CE, T a temperature.

A new loss is one function and one line of `LOSSES`. A user's own loss is named by its dotted path.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from pipeline.core import names
from pipeline.core.errors import DecantError
from pipeline.losses.standardised import standardised, unit_deviation

Loss = Callable[..., Tensor]

# Outside this range T^2 * KL, or the logits, vanish in float32.
TEMPERATURES = (1e-3, 1e3)

INPUTS = (
    "student_logits",
    "student_features",
    "teacher_logits",
    "teacher_features",
    "targets",
    "epoch",
)

LOSSES = {
    "kd": "pipeline.losses.hinton:kd",
    "kd_soft_only": "pipeline.losses.hinton:kd_soft_only",
    "rescaled": "pipeline.losses.standardised:rescaled",
    "zscore": "pipeline.losses.standardised:zscore",
    "dkd": "pipeline.losses.decoupled:dkd",
    "dist": "pipeline.losses.relations:dist",
    "mse": "pipeline.losses.hinton:mse",
    "rkd": "pipeline.losses.relations:rkd",
}

# Losses that scale the logits themselves.
SCALES: dict[str, Callable[[Tensor], Tensor]] = {
    "rescaled": unit_deviation,
    "zscore": standardised,
}


def scaled_logits(name: str, logits: Tensor) -> Tensor:
    """Logits [B,C] on the scale that a loss compares them on; no temperature is applied.

    `rescaled` and `zscore` scale logits before they compare them. The softmax of such a student's raw
    logits is therefore meaningless as a confidence: NLL, ECE and KL are computed from scaled logits. For
    all other losses this is the identity.

    >>> scaled_logits("rescaled", Tensor([[0.0, 4.0, 8.0]]))
    tensor([[0., 1., 2.]])
    """
    return SCALES[name](logits) if name in SCALES else logits


def inputs_of(name: str) -> tuple[str, ...]:
    """The inputs that a loss needs, in the order of its parameters.

    Raises ValueError for an unknown loss, and for parameters that are neither in `INPUTS` nor
    keyword-only.

    >>> inputs_of("kd")
    ('student_logits', 'teacher_logits', 'targets')
    """
    parameters = inspect.signature(resolve(name)).parameters.values()
    needed = [p for p in parameters if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    positional = inspect.Parameter.POSITIONAL_OR_KEYWORD
    unknown = [str(p) for p in needed if p.name not in INPUTS or p.kind is not positional]
    if unknown:
        raise ValueError(
            f"loss {name!r}: it asks for {', '.join(unknown)}; a loss can have {', '.join(INPUTS)}; "
            "hyper-parameters come after a `*`"
        )
    return tuple(p.name for p in needed)


def needs_features(name: str) -> bool:
    """Whether a loss needs the teacher's features; False for a name that `resolve` refuses.

    >>> [needs_features(name) for name in ("kd", "rkd", "no such loss")]
    [False, True, False]
    """
    try:
        return "teacher_features" in inputs_of(name)
    except ValueError:
        return False


def resolve(name: str) -> Loss:
    """The loss behind a name in `LOSSES` or a dotted path. Raises as `pipeline.core.names.load`.

    >>> resolve("dkd").__module__
    'pipeline.losses.decoupled'
    """
    return names.load(name, LOSSES, "loss")


def bind(name: str) -> Callable[..., Tensor]:
    """A loss as a function of a mapping from all of `INPUTS`, of which it uses those that it needs.

    Raises as `inputs_of`; the function raises DecantError if an input that it needs is None.
    """
    function, needed = resolve(name), inputs_of(name)

    def loss(inputs: Mapping[str, Any], **options: Any) -> Tensor:
        absent = [key for key in needed if inputs[key] is None]
        if absent:
            raise DecantError(
                f"{name} needs {', '.join(absent)}, which the store does not hold: set features: true in "
                "its dump and run `dvc repro`"
            )
        return function(**{key: inputs[key] for key in needed}, **options)

    return loss


def own_code_sha256(name: str) -> str | None:
    """Digest (hex) of the code of the user's own loss; None for a name in `LOSSES`. Raises as `resolve`."""
    return names.own_code_sha256(name, LOSSES, "loss")


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Check a method's hyper-parameters against the signature of its loss.

    Raises ValueError for an unknown loss, and one that lists all hyper-parameters that are unknown,
    missing, not numbers or out of range. For built-in losses temperatures range from 0.001 to 1000, and
    all other numbers are at least 0.

    >>> check_options("kd", {"temperature": 4.0, "gamma": 0.1})
    Traceback (most recent call last):
    ValueError: loss 'kd': missing hyper-parameter 'alpha'
    """
    inputs_of(name)
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
