"""What the store commands share: options, how a store is named, and how facts are printed."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from pipeline.core.files import PREPARED, STORES
from stages.shared.completion import store_names, stores
from stages.shared.nearest import nearest
from stages.shared.options import load_params, path_option
from stages.shared.tables import shown

F = TypeVar("F", bound=Callable[..., Any])

params_option = path_option(
    "--params",
    None,
    "Parameter file that --prepared was made from.  [default: params.yaml, for the project's own data]",
)


def params_beside(params: Path | None, prepared: Path) -> dict[str, Any] | None:
    """The parameter file that prepared data have to agree with, unchecked.

    None for data of somewhere else, and where there is no file: a store is looked at anywhere.
    """
    if params is not None:
        return load_params(params)
    own = Path("params.yaml")
    return load_params(own) if prepared == PREPARED and own.exists() else None


def store_argument(name: str) -> Callable[[F], F]:
    """An argument that names a store: a folder, or the name of one below data/stores."""
    path_type = click.Path(path_type=Path)
    return click.argument(
        name,
        type=path_type,
        callback=lambda ctx, param, path: find_store(path),
        shell_complete=stores,
    )


def find_store(path: Path) -> Path:
    """The folder that is meant: a bare name that is no folder is a store's below data/stores.

    Raises click.BadParameter for a bare name that is none, but near one.
    """
    named = STORES / f"{path.name.removesuffix('.zarr')}.zarr"
    bare = len(path.parts) == 1 and path.name not in ("", "..")
    near = nearest(path.name.removesuffix(".zarr"), store_names())
    if bare and near and not named.exists() and not path.exists():
        raise click.BadParameter(f"no store {str(path)!r}; did you mean {near}?")
    return named if bare and (named.exists() or not path.exists()) else path


def print_facts(rows: Sequence[tuple[str, str]]) -> None:
    """Print names and what they are, one a line."""
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        click.echo(f"{name:<{width}}  {shown(text)}")
