"""What all commands share: options, parameters, the machine, and how a user's mistake is reported."""

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console

from pipeline.core.files import WorkFolderBusyError, canonical_json
from pipeline.core.params import load_yaml
from stages.shared.settings import with_settings
from stages.shared.tables import shown

F = TypeVar("F", bound=Callable[..., Any])

BUSY = 75  # EX_TEMPFAIL of sysexits.h: later, the same command may succeed
_NO_MEMORY = (
    "end other programs or take a machine with more, and do not use a store or file that asks for so much "
    "unless you trust its source"
)
# Text as it is: paths and errors may hold [brackets] and :colons:.
console = Console(markup=False, emoji=False, highlight=False, soft_wrap=True)


def load_params(path: Path) -> dict[str, Any]:
    """The whole parameter file, unchecked, with the values of --set; stages read their own sections."""
    return with_settings(load_yaml(path))


def stage_options(function: F) -> F:
    """Options of most commands: the parameter file, and those of `debug_option`."""
    params = click.option(
        "--params",
        "params_path",
        type=click.Path(path_type=Path),
        default=Path("params.yaml"),
        show_default=True,
        help="The parameter file.",
    )
    return params(debug_option(function))


def debug_option(function: F) -> F:
    """The option --debug of every command; turns mistakes into messages.

    A mistake of the user's (ValueError, or a file that is not there), or too little memory, is printed
    without a traceback and ends with exit code 1, or 75 where another process is at the same work;
    Ctrl-C ends with 130.
    """

    @click.option("--debug", is_flag=True, help="Show the traceback of an error.")
    @functools.wraps(function)
    def wrapper(*args: Any, debug: bool, **kwargs: Any) -> Any:
        return guarded(functools.partial(function, *args, **kwargs), debug=debug)

    return wrapper  # type: ignore[return-value]


def guarded(call: Callable[[], Any], *, debug: bool) -> Any:
    """Run a command's body, printing a user's mistakes as one message."""
    try:
        return call()
    except KeyboardInterrupt:
        click.echo("interrupted; the same command goes on from where it stopped", err=True)
        sys.exit(130)
    except MemoryError as error:
        if debug:
            raise
        more = f" ({shown(str(error))})" if str(error) else ""
        click.echo(f"error: this machine has too little free memory{more}; {_NO_MEMORY}", err=True)
        sys.exit(1)
    except (ValueError, OSError) as error:
        if debug:
            raise
        for line in str(error).splitlines() or [type(error).__name__]:
            click.echo(f"error: {shown(line)}", err=True)
        sys.exit(BUSY if isinstance(error, WorkFolderBusyError) else 1)


json_option = click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")


def print_json(facts: Any) -> None:
    """Print canonical JSON."""
    click.echo(canonical_json(facts).decode("ascii"), nl=False)


def path_option(name: str, default: Path | str | None, text: str) -> Callable[[F], F]:
    """A path option with the pipeline's own place as its default."""
    path_type = click.Path(path_type=Path)
    place = None if default is None else Path(default)
    return click.option(name, type=path_type, default=place, show_default=True, help=text)
