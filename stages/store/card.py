"""A store in, a README for a model hub out."""

from pathlib import Path

import click

from stages.shared.options import debug_option, path_option
from stages.store.common import store_argument


@click.command()
@store_argument("store")
@click.option(
    "--licence",
    default="unknown",
    show_default=True,
    metavar="ID",
    help="The hub's name of the licence: mit, cc-by-4.0, other, ...",
)
@click.option(
    "--repository",
    default="OWNER/NAME",
    show_default=True,
    help="Where the store is to be shared.",
)
@path_option("--out", None, "File to write, README.md say.  [default: print the card]")
@debug_option
def card(store: Path, licence: str, repository: str, out: Path | None) -> None:
    """Write the README of STORE for a model hub: teacher, data, views, codec and its error, digests.

    Nothing is sent anywhere: what to type for that is printed.
    """
    from pipeline.tools.card import card_of

    text, upload = card_of(store, licence, repository)
    if out is None:
        click.echo(text, nl=False)
    else:
        out.write_text(text, encoding="utf-8")
        click.echo(f"-> {out}")
    click.echo(f"\nTo share it (nothing has been sent):\n{upload}", err=out is None)
