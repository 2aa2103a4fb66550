"""A store in; npz or parquet files out, one a view, for programs that know nothing of stores."""

from pathlib import Path

import click

from pipeline.views.params import GROUPS
from stages.shared.options import debug_option
from stages.shared.tables import bytes_text, shown
from stages.store.common import store_argument


@click.command()
@store_argument("store")
@click.option(
    "--format",
    "form",
    type=click.Choice(["npz", "parquet"]),
    default="npz",
    show_default=True,
    help="parquet needs pyarrow: pip install -e '.[parquet]'.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder to write; empty or new."
)
@click.option(
    "--group",
    "groups",
    type=click.Choice(["clean", *GROUPS]),
    multiple=True,
    help="Export this group alone; repeat for more.  [default: all that are there]",
)
@debug_option
def export(store: Path, form: str, out: Path, groups: tuple[str, ...]) -> None:
    """Write the logits, features and plans of STORE as files of plain arrays, one a view.

    Every file carries the manifest's facts; `decant store import-logits` reads npz files again.
    """
    from pipeline.tools.export import export_files

    exported, written = export_files(store, form, out, groups)
    size = bytes_text(sum(path.stat().st_size for path in written))
    click.echo(f"{shown(str(store))}: {', '.join(exported)} -> {len(written)} files, {size}")
    click.echo(f"in {out}")
