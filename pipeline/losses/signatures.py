"""What the losses are called, what they need and what they accept, told without importing torch for ours."""

import ast
import inspect
import sys
from collections.abc import Mapping
from inspect import Parameter
from typing import Any

from pipeline.core import names

# Beyond, float32 leaves nothing of T^2 * KL, or of the logits.
TEMPERATURES = (1e-3, 1e3)
MOST = sys.float_info.max

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


def signature(name: str) -> list[Parameter]:
    """The parameters of a loss: one of `LOSSES` as its text has it, or one of the user's own.

    Raises as `pipeline.core.names.load`.
    """
    if name not in LOSSES:
        own = names.load(name, LOSSES, "loss")
        try:  # with annotations that are text, as after `from __future__ import annotations`
            found = inspect.signature(own, eval_str=True)
        except Exception:  # of names that only type checkers import
            found = inspect.signature(own)
        return list(found.parameters.values())
    module, _, function = LOSSES[name].partition(":")
    (arguments,) = (
        node.args
        for node in names.parsed(module).body
        if isinstance(node, ast.FunctionDef) and node.name == function
    )
    kinds = {
        Parameter.POSITIONAL_OR_KEYWORD: arguments.args,
        Parameter.KEYWORD_ONLY: arguments.kwonlyargs,
    }
    return [
        Parameter(argument.arg, kind, annotation=_annotation(argument))
        for kind, group in kinds.items()
        for argument in group
    ]


def _annotation(argument: ast.arg) -> Any:
    return (
        float
        if isinstance(argument.annotation, ast.Name) and argument.annotation.id == "float"
        else Any
    )


def hyper_parameters(name: str) -> dict[str, Parameter]:
    """What a loss accepts besides its inputs. Raises as `signature`."""
    return {p.name: p for p in signature(name) if p.kind is Parameter.KEYWORD_ONLY}


def inputs_of(name: str) -> tuple[str, ...]:
    """The inputs that a loss needs, in the order of its parameters.

    Raises ValueError for an unknown loss, and for parameters that are neither in `INPUTS` nor
    keyword-only.

    >>> inputs_of("kd")
    ('student_logits', 'teacher_logits', 'targets')
    """
    needed = [p for p in signature(name) if p.kind is not Parameter.KEYWORD_ONLY]
    plain = (Parameter.POSITIONAL_OR_KEYWORD,)
    unknown = [str(p) for p in needed if p.name not in INPUTS or p.kind not in plain]
    if unknown:
        raise ValueError(
            f"loss {name!r}: it asks for {', '.join(unknown)}; a loss can have {', '.join(INPUTS)}; "
            "hyper-parameters come after a `*`"
        )
    return tuple(p.name for p in needed)


def needs_features(name: str) -> bool:
    """Whether a loss needs the teacher's features; False for a name that `signature` refuses.

    >>> [needs_features(name) for name in ("kd", "rkd", "no such loss")]
    [False, True, False]
    """
    try:
        return "teacher_features" in inputs_of(name)
    except (ValueError, TypeError):
        return False


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
    accepted = hyper_parameters(name)
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
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MOST:
        return [f"{key} must be a number, found {value!r}"]
    least, most = TEMPERATURES
    if built_in and key == "temperature" and not least <= value <= most:
        return [f"{key} must be from {least:g} to {most:g}, found {value!r}"]
    if built_in and value < 0:
        return [f"{key} must be at least 0, found {value!r}"]
    return []
