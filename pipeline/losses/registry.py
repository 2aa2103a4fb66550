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

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from pipeline.core import names
from pipeline.core.errors import DecantError
from pipeline.losses.signatures import LOSSES, inputs_of
from pipeline.losses.standardised import standardised, unit_deviation

Loss = Callable[..., Tensor]

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
