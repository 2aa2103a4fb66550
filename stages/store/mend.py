"""A damaged store in, the same store with its files fetched anew out."""

import sys
from pathlib import Path

import click

from stages.shared.options import debug_option
from stages.shared.tables import shown
from stages.store.common import store_argument


@click.command()
@store_argument("store")
@debug_option
def mend(store: Path) -> None:
    """Drop the damaged files of STORE, from DVC's cache too, and fetch them and missing ones anew.

    Exit code 0 where the store is good afterwards, else 1. A store in which there is something that
    does not belong to it is left alone: DVC would delete that.
    """
    from stages.dvc.mend import mend_store, to_compute

    problems = mend_store(store, lambda line: click.echo(shown(line)))
    if not problems:
        return
    for problem in problems:
        click.echo(f"  {shown(problem.path or '.')}: {problem.what}", err=True)
    path = shown(str(store))
    click.echo(
        f"error: {path}: not mended: neither DVC's cache nor its remote has these files as they "
        f"should be (`dvc pull {path}` says why). To compute them: "
        f"`{shown(to_compute(store, problems))}`",
        err=True,
    )
    sys.exit(1)
