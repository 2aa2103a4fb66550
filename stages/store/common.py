"""What the store commands share: options, how a store is named, and how facts are printed."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.core.files import PREPARED, STORES, VERSIONS
from stages.shared.options import guarded, load_params, path_option

if TYPE_CHECKING:
    from pipeline.store.format.errors import StaleStoreError

F = TypeVar("F", bound=Callable[..., Any])
Row = Sequence[str]

json_option = click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")


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
    return click.argument(name, type=path_type, callback=lambda ctx, param, path: find_store(path))


def find_store(path: Path) -> Path:
    """The folder that is meant: a bare name that is no folder is a store's below data/stores."""
    named = STORES / f"{path.name.removesuffix('.zarr')}.zarr"
    bare = len(path.parts) == 1 and path.name not in ("", "..")
    return named if bare and (named.exists() or not path.exists()) else path


def stale_groups(store: Path) -> "list[StaleStoreError]":
    """Groups of a store of the project that are of another version than the project's commit."""
    from pipeline.store.format.check import read_manifest
    from pipeline.store.format.errors import StoreError
    from pipeline.store.format.layout import GROUPS
    from pipeline.store.format.version import version_error

    found: list[StaleStoreError] = []
    for group in GROUPS if store.absolute().parent == STORES.absolute() else ():
        try:
            manifest = read_manifest(store, group)
        except StoreError:
            continue
        if error := version_error(store, manifest, VERSIONS / store.name):
            found.append(error)
    return found


def store_options(function: F) -> F:
    """Every store command's option --debug; turns mistakes into messages (exit code 1)."""

    @click.option("--debug", is_flag=True, help="Show the traceback of an error.")
    @functools.wraps(function)
    def wrapper(*args: Any, debug: bool, **kwargs: Any) -> Any:
        return guarded(functools.partial(function, *args, **kwargs), debug=debug)

    return wrapper  # type: ignore[return-value]


def print_json(facts: Any) -> None:
    """Print canonical JSON."""
    from pipeline.core.files import canonical_json

    click.echo(canonical_json(facts).decode("ascii"), nl=False)


def print_facts(rows: Sequence[tuple[str, str]]) -> None:
    """Print names and what they are, one a line."""
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        click.echo(f"{name:<{width}}  {shown(text)}")


def print_table(header: Row, rows: Sequence[Row], *, labels: int = 1) -> None:
    """Print a table whose first columns are text and whose others are numbers."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, name in enumerate(header):
        left = index < labels
        table.add_column(
            name, justify="left" if left else "right", overflow="fold", no_wrap=not left
        )
    for row in rows:
        table.add_row(*(Text(shown(cell)) for cell in row))
    screen().print(table)


def screen() -> Console:
    """Where tables go: as wide as the terminal, 80 columns where there is none."""
    return Console(highlight=False, markup=False)


def shown(text: str) -> str:
    """A text for the terminal: a store may come from anyone, with names that move the cursor."""
    return text if text.isprintable() else ascii(text)


def bytes_text(count: float) -> str:
    """Bytes in decimal units."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count:.0f} B"
