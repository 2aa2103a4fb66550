"""A store's manifests in, what it holds and where it comes from out; of one store or of all."""

from pathlib import Path

import click

from pipeline.core.files import STORES
from stages.shared.options import debug_option, json_option, path_option, print_json
from stages.shared.tables import print_table, shown
from stages.store.common import print_facts, store_argument
from stages.store.facts import group_table, line, origin

_SHOWN_PROBLEMS = 3


@click.command()
@store_argument("store")
@json_option
@debug_option
def info(store: Path, as_json: bool) -> None:
    """Show what STORE holds: teacher, data set, views, codec and what it costs, size, fingerprints.

    Only manifests and the sizes of files are looked at; `decant store verify` reads everything.
    """
    from pipeline.tools.describe import inspect_store

    facts, stale = inspect_store(store)
    if as_json:
        print_json(facts)
        return
    click.echo(f"{shown(facts['store'])}: {'complete' if facts['complete'] else 'NOT complete'}")
    for problem in facts["problems"][:_SHOWN_PROBLEMS]:
        click.echo(f"  {shown(problem)}")
    if len(facts["problems"]) > _SHOWN_PROBLEMS:
        click.echo(f"  and {len(facts['problems']) - _SHOWN_PROBLEMS} more")
    for error in stale:
        click.echo(f"  {shown(str(error))}")
    for name in facts["groups_disagree_on"]:
        click.echo(f"  its groups disagree on the {name}; what follows is of the first one")
    click.echo()
    if facts["teacher"] is not None:
        print_facts(origin(facts))
        click.echo()
        print_table(*group_table(facts))


@click.command("ls")
@path_option("--stores", STORES, "Folder of the stores.")
@json_option
@debug_option
def ls(stores: Path, as_json: bool) -> None:
    """List all stores of the workspace."""
    from pipeline.tools.describe import inspect_stores

    found = inspect_stores(stores)
    if as_json:
        print_json([facts for facts, _ in found])
    elif not found:
        click.echo(f"no stores in {stores}: `dvc repro` makes them, `dvc pull` fetches them")
    else:
        header = ("Store", "Data set", "Codec", "Top-1", "Plain", "Mixed", "Size", "State")
        print_table(header, [line(facts, bool(stale)) for facts, stale in found], labels=3)
