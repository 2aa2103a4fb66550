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

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from pipeline.core import names
from pipeline.core.errors import DecantError
from pipeline.losses.signatures import LOSSES, inputs_of
from pipeline.losses.standardised import standardised, unit_deviation

Loss = Callable[..., Tensor]

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
