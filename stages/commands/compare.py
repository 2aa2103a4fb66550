"""Two working folders in, what differs out: equal before and after a change of the code?"""

import sys
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stages.shared.options import debug_option, json_option, print_json
from stages.shared.tables import shown

if TYPE_CHECKING:
    from pipeline.tools.compare_runs import Comparison

_SHOWN = 10  # places of one file

_folder = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command()
@click.argument("first", type=_folder)
@click.argument("second", type=_folder)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="Numbers that lie no further apart are equal; bytes may then differ.",
)
@click.option(
    "--ignore",
    multiple=True,
    metavar="PATTERN",
    help="Leave out files (`features.safetensors`, `data/stores/*`) or places in files "
    "(`record.json:entry.*`); repeatable.",
)
@json_option
@debug_option
def compare(
    first: Path, second: Path, tolerance: float, ignore: tuple[str, ...], as_json: bool
) -> None:
    """Show how the results in SECOND differ from those in FIRST: exit code 0 where nothing does, else 1.

    Both are folders of projects, with data/ and reports/ in them. Compared are prepared data and stores byte
    by byte, weights, curves, logits and tables number by number, and records value by value. Times, the
    machine and versions are left aside.
    """
    from pipeline.tools.compare_runs import compare_folders

    result = compare_folders(first, second, tolerance=tolerance, ignore=ignore)
    if as_json:
        only = {str(folder): list(names) for folder, names in result.only.items()}
        differences = [asdict(difference) for difference in result.differences]
        print_json({"compared": result.compared, "differences": differences, "only": only})
    else:
        report(first, second, result)
    sys.exit(1 if result.differences else 0)


def report(first: Path, second: Path, result: "Comparison") -> None:
    """Print what differs, then what only one of the folders has without its being a difference."""
    for _, group in groupby(result.differences, key=lambda difference: difference.path):
        differences = list(group)
        for difference in differences[:_SHOWN]:
            click.echo(shown(str(difference)))
        if len(differences) > _SHOWN:
            click.echo(f"  and {len(differences) - _SHOWN:,} more in this file")
    for folder, names in result.only.items():
        if names:
            click.echo(f"\nNot compared, only in {folder}:")
            click.echo("\n".join(f"  {shown(name)}" for name in names))
    count = len({difference.path for difference in result.differences})
    verdict = f"{count:,} differ" if count else "all equal"
    click.echo(f"\n{first} and {second}: {result.compared:,} files compared, {verdict}")
