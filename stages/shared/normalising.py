"""The options --mean and --std: the normalisation that a network was trained under elsewhere."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:  # for a quick --help
    from pipeline.core.normalisation import Channels, Normalisation

F = TypeVar("F", bound=Callable[..., Any])


def normalisation_options(function: F) -> F:
    """Add --mean and --std, three numbers each."""
    for name, text in (("--std", "standard deviation"), ("--mean", "mean")):
        function = click.option(
            name,
            type=float,
            nargs=3,
            metavar="R G B",
            help=f"{text.capitalize()} of pixel/255 that the network was trained with.  [default: the "
            "data set's]",
        )(function)
    return function


def given_normalisation(mean: "Channels | None", std: "Channels | None") -> "Normalisation | None":
    """What the two options say; None where neither is given. Raises click.UsageError."""
    from pipeline.core.normalisation import Deviations, Means, Normalisation
    from pipeline.core.params import read

    if (mean is None) != (std is None):
        raise click.UsageError("--mean and --std go together: give both, or neither")
    if mean is None or std is None:
        return None
    problems: list[str] = []
    for kind, values, option in ((Means, mean, "--mean"), (Deviations, std, "--std")):
        read(kind, values, option, problems)
    if problems:
        raise click.UsageError("; ".join(problems))
    return Normalisation(mean, std)
