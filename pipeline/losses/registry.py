"""What a student minimises: pure functions of its outputs, the teacher's, and the targets.

A loss names what it needs by its parameters: any of `INPUTS`, then keyword-only hyper-parameters. It
returns a scalar: nats, mean over the batch::

    def l1(student_logits: Tensor, teacher_logits: Tensor, *, weight: float) -> Tensor: ...

student_logits and teacher_logits are [B,C], student_features [B,D] and teacher_features [B,E] (a loss that
names these needs a store that holds them), targets [B,C]: one-hot, or mixed (each row sums to 1). All are
float32 (or wider). `epoch` is the training's progress, a scalar: 2.5 is the middle of the third epoch. No
hyper-parameter of ours has a default: its number lives in params.yaml.

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

from pipeline.core import names
from pipeline.core.errors import DecantError
from pipeline.losses.standardised import standardised, unit_deviation

Loss = Callable[..., Tensor]

# Beyond, float32 leaves nothing of T^2 * KL, or of the logits.
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


def inputs_of(name: str) -> tuple[str, ...]:
    """What a loss needs, in the order in which it names it.

    Raises ValueError for an unknown loss, and for parameters that are neither in `INPUTS` nor
    keyword-only.
    """
    parameters = inspect.signature(resolve(name)).parameters.values()
    needed = [p for p in parameters if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    plain = (inspect.Parameter.POSITIONAL_OR_KEYWORD,)
    unknown = [str(p) for p in needed if p.name not in INPUTS or p.kind not in plain]
    if unknown:
        raise ValueError(
            f"loss {name!r}: it asks for {', '.join(unknown)}; there are {', '.join(INPUTS)}; "
            "hyper-parameters come after a `*`"
        )
    return tuple(p.name for p in needed)


def needs_features(name: str) -> bool:
    """Whether a loss needs the teacher's features; False for a name that `resolve` would refuse."""
    try:
        return "teacher_features" in inputs_of(name)
    except ValueError:
        return False


def resolve(name: str) -> Loss:
    """The loss of a name in `LOSSES`, or of a dotted path. Raises as `pipeline.core.names.load`."""
    return names.load(name, LOSSES, "loss")


def bind(name: str) -> Callable[..., Tensor]:
    """A loss as a function of a mapping with all of `INPUTS`, of which it takes what it names.

    Raises as `inputs_of`; the function raises DecantError where one that it names is None.
    """
    function, needed = resolve(name), inputs_of(name)

    def loss(given: Mapping[str, Any], **options: Any) -> Tensor:
        absent = [key for key in needed if given[key] is None]
        if absent:
            raise DecantError(
                f"{name} needs {', '.join(absent)}, which the store does not hold: set features: true in "
                "its dump and run `dvc repro`"
            )
        return function(**{key: given[key] for key in needed}, **options)

    return loss


def own_code_sha256(name: str) -> str | None:
    """Digest (hex) of the code of the user's own loss; None for those of `LOSSES`. Raises as `resolve`."""
    return names.own_code_sha256(name, LOSSES, "loss")


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Check a method's hyper-parameters against the signature of its loss.

    Raises ValueError listing all that are unknown, missing, not numbers or out of range
    (temperatures are from 0.001 to 1000, all others of the built-in losses at least 0), or where the
    loss itself is unknown.
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
